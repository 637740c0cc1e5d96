// Licensed under a 3-clause BSD style license - see LICENSE.rst
//
// Sharpen and denoise the active image with "astroflat restore", from PixInsight.
//
// Install: put this file anywhere and open it with Script > Execute Script File, or
// add its folder under Script > Feature Scripts. No module and no process icon is
// needed; astroflat itself must be installed (pip install astroflat).
//
// The image is saved as a temporary XISF file, the command runs beside PixInsight,
// and its result becomes a new window. The image itself is not touched.

#feature-id    Utilities > AstroflatRestore
#feature-info  Sharpens and denoises linear images with the program astroflat.

#include <pjsr/Sizer.jsh>
#include <pjsr/StdButton.jsh>
#include <pjsr/StdIcon.jsh>
#include <pjsr/UndoFlag.jsh>
#include <pjsr/DataType.jsh>
#include <pjsr/NumericControl.jsh>

var AF_TITLE = "astroflat restore";
var AF_PROTECT = [ "none", "bright", "flat" ];
// What the command says by its exit code.
var AF_EXIT = {
   0: "done",
   1: "the command failed",
   2: "wrong arguments: this script and the program are of different versions",
   3: "its own report rejects the result",
   130: "interrupted"
};

// ------------------------------------------------------------------ settings

function afDefaults()
{
   return {
      program: "astroflat",  // or the full path of it
      fwhm: 0,               // pixels; 0: measured in the stars
      strength: 1,
      denoise: 1,
      protect: "none",
      device: "auto"
   };
}

function afLoad()
{
   var options = afDefaults();
   for ( var name in options )
   {
      var isText = typeof options[ name ] == "string";
      var value = Settings.read( "astroflat/" + name, isText ? DataType_UCString : DataType_Double );
      if ( Settings.lastReadOK && value !== null )
         options[ name ] = value;
   }
   return options;
}

function afSave( options )
{
   for ( var name in afDefaults() )
   {
      var isText = typeof options[ name ] == "string";
      Settings.write( "astroflat/" + name, isText ? DataType_UCString : DataType_Double, options[ name ] );
   }
}

// ------------------------------------------------------------- the command line

// A list: nothing needs quotes, whatever blanks are in the names.
function afArguments( options, input, output )
{
   var list = [ "restore", input, "--output", output, "--overwrite", "--no-figure" ];
   list.push( "--dtype", "float32" );
   list.push( "--strength", String( options.strength ) );
   list.push( "--denoise", String( options.denoise ) );
   list.push( "--protect", options.protect );
   list.push( "--device", options.device );
   if ( options.fwhm > 0 )
      list.push( "--fwhm", String( options.fwhm ) );
   return list;
}

// "progress 42 % light.xisf: restore" -> { percent: 42, text: "light.xisf: restore" }
function afProgress( line )
{
   var found = /^progress (\d+) % ?(.*)$/.exec( line );
   return found ? { percent: parseInt( found[ 1 ], 10 ), text: found[ 2 ] } : null;
}

// Output comes in pieces that end anywhere: hands on whole lines.
function AfLines( take )
{
   this.rest = "";
   this.add = function( text )
   {
      var lines = ( this.rest + text ).split( /\r?\n/ );
      this.rest = lines.pop();
      for ( var i = 0; i < lines.length; ++i )
         take( lines[ i ] );
   };
   this.end = function()
   {
      if ( this.rest.length > 0 )
         take( this.rest );
      this.rest = "";
   };
}

// Runs the program and returns its summary; what goes wrong is thrown.
function afRun( options, list )
{
   var said = [], complaints = [], last = -1, broken = null;
   var out = new AfLines( function( line )
   {
      var progress = afProgress( line );
      if ( progress == null )
      {
         said.push( line );
         console.writeln( line );
      }
      else if ( progress.percent >= last + 5 || progress.percent == 100 )
      {
         last = progress.percent;
         console.writeln( progress.percent + " % " + progress.text );
      }
   } );
   var err = new AfLines( function( line )
   {
      complaints.push( line );
      console.warningln( line );
   } );

   var process = new ExternalProcess;
   process.onStandardOutputDataAvailable = function() { out.add( String( process.stdout ) ); };
   process.onStandardErrorDataAvailable = function() { err.add( String( process.stderr ) ); };
   process.onError = function( code ) { broken = code; };

   console.show();
   console.abortEnabled = true;
   console.writeln( "<end><cbr><br>" + options.program + " " + list.join( " " ) );
   var command = afCommand( options.program, list, CoreApplication.platform );
   if ( process.start( command.program, command.list ) === false )
      throw new Error( afNotStarted( options ) );
   while ( process.isStarting || process.isRunning )
   {
      processEvents();
      if ( console.abortRequested )
      {
         process.kill();
         throw new Error( "aborted" );
      }
   }
   out.end();
   err.end();
   // 126 and 127: "env" found no such program.
   if ( broken != null || process.exitCode == 126 || process.exitCode == 127 )
      throw new Error( afNotStarted( options ) );
   if ( process.exitCode != 0 && process.exitCode != 3 )
      throw new Error( afComplaint( process.exitCode, complaints ) );
   return { code: process.exitCode, said: said };
}

// On Linux PixInsight runs with libraries of its own in LD_LIBRARY_PATH, which Python
// must not get.
function afCommand( program, list, platform )
{
   if ( String( platform ).toUpperCase() == "LINUX" )
      return { program: "/usr/bin/env", list: [ "-u", "LD_LIBRARY_PATH", program ].concat( list ) };
   return { program: program, list: list };
}

function afNotStarted( options )
{
   return "'" + options.program + "' cannot be run. Give the full path of the program: " +
      "'which astroflat' (Linux, macOS) or 'where astroflat' (Windows) tells it.";
}

function afComplaint( code, complaints )
{
   var text = AF_EXIT[ code ] || "the command ended";
   var last = complaints.length ? complaints[ complaints.length - 1 ] : "";
   return text + " (exit code " + code + ")" + ( last ? ": " + last : "" );
}

// ------------------------------------------------------------------------ images

function afTemporary()
{
   var base = File.systemTempDirectory + "/astroflat_" + ( new Date ).getTime();
   return { input: base + "_in.xisf", output: base + "_out.xisf", report: base + "_out.json" };
}

// The pixels and the keywords of a view, as 32-bit floating point.
function afWrite( view, path )
{
   var format = new FileFormat( ".xisf", false/*toRead*/, true/*toWrite*/ );
   if ( format.isNull )
      throw new Error( "this PixInsight cannot write XISF files" );
   var file = new FileFormatInstance( format );
   if ( file.isNull || !file.create( path, "" ) )
      throw new Error( "cannot create " + path );
   try
   {
      var description = new ImageDescription;
      description.bitsPerSample = 32;
      description.ieeefpSampleFormat = true;
      if ( !file.setOptions( description ) )
         throw new Error( "cannot write 32-bit floating point" );
      file.keywords = view.window.keywords;
      if ( !file.writeImage( view.image ) )
         throw new Error( "cannot write " + path );
   }
   finally
   {
      file.close();
   }
}

// A new window that does not belong to the temporary file.
function afRead( path, view )
{
   var format = new FileFormat( ".xisf", true/*toRead*/, false/*toWrite*/ );
   var file = new FileFormatInstance( format );
   var found = file.isNull ? [] : file.open( path, "" );
   if ( !found || found.length < 1 )
      throw new Error( "cannot open the result " + path );
   var image = new Image;
   try
   {
      if ( !file.readImage( image ) )
         throw new Error( "cannot read the result " + path );
      var window = new ImageWindow( image.width, image.height, image.numberOfChannels,
         32, true, image.isColor, view.id + "_restored" );
      window.mainView.beginProcess( UndoFlag_NoSwapFile );
      window.mainView.image.assign( image );
      window.mainView.endProcess();
      window.keywords = file.keywords;
      // Versions since 1.8.9 keep the solution apart from the keywords.
      if ( view.isMainView && view.window.hasAstrometricSolution )
         if ( window.copyAstrometricSolution )
            window.copyAstrometricSolution( view.window );
      return window;
   }
   finally
   {
      file.close();
      image.free();
   }
}

// Restores a view into a new window; its files are removed whatever happens.
function afRestore( view, options )
{
   if ( !view || view.isNull )
      throw new Error( "open an image first" );
   var files = afTemporary();
   try
   {
      afWrite( view, files.input );
      var result = afRun( options, afArguments( options, files.input, files.output ) );
      if ( !File.exists( files.output ) )
         throw new Error( "the command ended without a result" );
      var window = afRead( files.output, view );
      window.show();
      return { window: window, code: result.code, said: result.said };
   }
   finally
   {
      for ( var name in files )
         if ( File.exists( files[ name ] ) )
            File.remove( files[ name ] );
   }
}

// ------------------------------------------------------------------------ dialog

function afNumber( dialog, text, value, high, precision, tip )
{
   var control = new NumericControl( dialog );
   control.label.text = text;
   control.label.minWidth = 120;
   control.setRange( 0, high );
   control.setPrecision( precision );
   control.slider.setRange( 0, 200 );
   control.setValue( value );
   control.toolTip = tip;
   return control;
}

function AfDialog( options, view )
{
   this.__base__ = Dialog;
   this.__base__();
   this.windowTitle = AF_TITLE;

   this.target = new Label( this );
   this.target.text = view && !view.isNull ? "Image: " + view.id : "No image is open.";

   this.fwhm = afNumber( this, "FWHM (pixels):", options.fwhm, 20, 2,
      "Width of the stars. 0: measured in the image, place by place." );
   this.strength = afNumber( this, "Strength:", options.strength, 1, 2,
      "0 leaves the width of the stars, 1 halves it." );
   this.denoise = afNumber( this, "Denoise:", options.denoise, 1, 2,
      "Part of the noise that is removed." );

   this.protect = new ComboBox( this );
   this.device = new ComboBox( this );
   var devices = [ "auto", "cpu", "cuda" ];
   for ( var i = 0; i < AF_PROTECT.length; ++i )
      this.protect.addItem( "keep: " + AF_PROTECT[ i ] );
   for ( i = 0; i < devices.length; ++i )
      this.device.addItem( "device: " + devices[ i ] );
   this.protect.currentItem = Math.max( 0, AF_PROTECT.indexOf( options.protect ) );
   this.device.currentItem = Math.max( 0, devices.indexOf( options.device ) );
   this.protect.toolTip = "Where the image is kept: bright places, or flat ones where only noise varies.";

   this.program = new Edit( this );
   this.program.text = options.program;
   this.program.toolTip = "The program astroflat, with its path if PixInsight does not find it.";

   // Not properties: "ok" and "cancel" are methods of dialogs.
   var dialog = this;
   var accept = new PushButton( this ), refuse = new PushButton( this );
   accept.text = "Run";
   accept.enabled = !!view && !view.isNull;
   accept.onClick = function() { dialog.ok(); };
   refuse.text = "Cancel";
   refuse.onClick = function() { dialog.cancel(); };

   var buttons = new HorizontalSizer;
   buttons.spacing = 6;
   buttons.addStretch();
   buttons.add( accept );
   buttons.add( refuse );
   this.sizer = new VerticalSizer;
   this.sizer.margin = 8;
   this.sizer.spacing = 6;
   var rows = [ this.target, this.fwhm, this.strength, this.denoise, this.protect,
      this.device, this.program, buttons ];
   for ( i = 0; i < rows.length; ++i )
      this.sizer.add( rows[ i ] );
   this.adjustToContents();

   this.options = function()
   {
      return {
         program: this.program.text.trim(),
         fwhm: this.fwhm.value,
         strength: this.strength.value,
         denoise: this.denoise.value,
         protect: AF_PROTECT[ this.protect.currentItem ],
         device: devices[ this.device.currentItem ]
      };
   };
}
AfDialog.prototype = new Dialog;

// ------------------------------------------------------------------------ script

function afMain()
{
   var view = ImageWindow.activeWindow.isNull ? null : ImageWindow.activeWindow.currentView;
   var dialog = new AfDialog( afLoad(), view );
   if ( !dialog.execute() )
      return;
   var options = dialog.options();
   afSave( options );
   try
   {
      var result = afRestore( view, options );
      if ( result.code == 3 )
         ( new MessageBox( "The result is there, but " + AF_EXIT[ 3 ] + ". See the console.",
            AF_TITLE, StdIcon_Warning, StdButton_Ok ) ).execute();
   }
   catch ( error )
   {
      console.criticalln( AF_TITLE + ": " + error.message );
      ( new MessageBox( error.message, AF_TITLE, StdIcon_Error, StdButton_Ok ) ).execute();
   }
}

afMain();
