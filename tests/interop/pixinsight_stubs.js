// Licensed under a 3-clause BSD style license - see LICENSE.rst
//
// Runs the script for PixInsight under node, with stand-ins for the classes of
// PixInsight that it uses. Usage: node pixinsight_stubs.js SCRIPT.js CASE.json
//
// A file "image" is JSON here; the program that the script starts is a real one.

'use strict';

const fs = require('fs');
const os = require('os');
const vm = require('vm');
const { spawnSync } = require('child_process');

const [scriptPath, casePath] = process.argv.slice(2);
const test = JSON.parse(fs.readFileSync(casePath, 'utf8'));
const seen = { console: [], boxes: [], windows: [], started: [], settings: {}, removed: [] };

class Control {
   constructor() {
      this.label = {};
      this.slider = { setRange() {} };
      this.items = [];
   }
   setRange(low, high) { this.high = high; }
   setPrecision() {}
   setValue(value) { this.value = value; }
   addItem(text) { this.items.push(text); }
   add(child) { this.items.push(child); }
   addStretch() {}
   adjustToContents() {}
}

// Old-fashioned classes, because the script inherits from them by prototype.
function Dialog() { Object.assign(this, new Control); }
Dialog.prototype = Object.create(Control.prototype);
Dialog.prototype.ok = function () { this.answer = true; };
Dialog.prototype.cancel = function () { this.answer = false; };
Dialog.prototype.execute = function () {
   // What a user does: turn the dials and press a button.
   Object.entries(test.dials || {}).forEach(([name, change]) => Object.assign(this[name], change));
   const buttons = this.sizer.items[this.sizer.items.length - 1].items;
   const run = buttons.find(button => button.text === (test.press || 'Run'));
   if (run.enabled === false)
      return false;
   run.onClick();
   return this.answer;
};

class ExternalProcess {
   constructor() {
      this.isStarting = this.isRunning = false;
      this.exitCode = 0;
      ExternalProcess.current = this;
   }
   start(program, list) {
      seen.started.push([program, list]);
      const done = spawnSync(program, list, { encoding: 'utf8' });
      if (done.error) {
         if (test.silentStart)
            this.onError(0);
         return test.silentStart ? undefined : false;
      }
      // Pieces that end anywhere, as a pipe has them.
      const pieces = (text, name) => (text.match(/[^]{1,7}/g) || []).map(part => [name, part]);
      this.queue = [...pieces(done.stdout, 'stdout'), ...pieces(done.stderr, 'stderr')];
      this.code = done.status;
      this.isStarting = true;
      return true;
   }
   step() {
      if (this.isStarting) {
         this.isStarting = false;
         this.isRunning = true;
      } else if (this.queue.length) {
         const [name, part] = this.queue.shift();
         this[name] = { toString: () => part };
         (name === 'stdout' ? this.onStandardOutputDataAvailable : this.onStandardErrorDataAvailable)();
      } else {
         this.isRunning = false;
         this.exitCode = this.code;
      }
   }
   kill() { seen.killed = true; this.isRunning = false; }
}

class FileFormatInstance {
   constructor(format) { this.format = format; this.isNull = false; }
   create(path) { this.path = path; return !test.cannotCreate; }
   setOptions(description) { this.description = description; return true; }
   writeImage(image) {
      const { width, height, numberOfChannels } = image;
      const content = { width, height, numberOfChannels, keywords: this.keywords, description: this.description };
      fs.writeFileSync(this.path, JSON.stringify(content));
      return true;
   }
   open(path) {
      this.content = JSON.parse(fs.readFileSync(path, 'utf8'));
      this.keywords = this.content.keywords;
      return [{}];
   }
   readImage(image) {
      Object.assign(image, this.content, { isColor: this.content.numberOfChannels > 1 });
      return true;
   }
   close() { seen.closed = (seen.closed || 0) + 1; }
}

class ImageWindow {
   constructor(width, height, channels, bits, isFloat, isColor, id) {
      Object.assign(this, { width, height, channels, bits, isFloat, isColor, id });
      this.mainView = {
         image: { assign: image => { this.assigned = image.width; } },
         beginProcess() {},
         endProcess() {},
      };
      seen.windows.push(this);
   }
   show() { this.shown = true; }
   copyAstrometricSolution(source) { this.solution = source.name; }
}
const source = { name: 'source', keywords: [{ name: 'OBJECT', value: 'M 1' }], hasAstrometricSolution: true, isNull: false };
source.currentView = { id: 'M1', isNull: false, isMainView: true, window: source, image: { width: 30, height: 20, numberOfChannels: 3 } };
ImageWindow.activeWindow = test.noImage ? { isNull: true } : source;

const log = kind => text => seen.console.push([kind, text]);
let steps = 0;
const context = {
   Dialog, ExternalProcess, FileFormatInstance, ImageWindow,
   FileFormat: class { constructor(ending) { this.ending = ending; this.isNull = false; } },
   Label: Control, Edit: Control, ComboBox: Control, PushButton: Control, NumericControl: Control,
   HorizontalSizer: Control, VerticalSizer: Control,
   Image: class { free() { seen.freed = true; } },
   ImageDescription: class {},
   MessageBox: class { constructor(text) { this.text = text; } execute() { seen.boxes.push(this.text); } },
   CoreApplication: { platform: test.platform || 'Linux' },
   File: {
      systemTempDirectory: test.temporary,
      exists: path => fs.existsSync(path),
      remove: path => { seen.removed.push(path); fs.unlinkSync(path); },
   },
   Settings: {
      lastReadOK: false,
      read(name) {
         this.lastReadOK = name in (test.settings || {});
         return this.lastReadOK ? test.settings[name] : null;
      },
      write: (name, type, value) => { seen.settings[name] = value; },
   },
   console: {
      writeln: log('line'), warningln: log('warning'), criticalln: log('critical'), show() {},
      get abortRequested() { return test.abortAfter !== undefined && steps > test.abortAfter; },
   },
   processEvents() { steps += 1; ExternalProcess.current.step(); },
   DataType_UCString: 1, DataType_Double: 2, UndoFlag_NoSwapFile: 3,
   StdIcon_Error: 1, StdIcon_Warning: 2, StdButton_Ok: 1,
};

// The directives of the preprocessor are no JavaScript.
const script = fs.readFileSync(scriptPath, 'utf8').replace(/^#.*$/gm, '');
vm.runInNewContext(script, context, { filename: scriptPath });
seen.windows = seen.windows.map(({ mainView, ...rest }) => rest);
process.stdout.write(JSON.stringify(seen));
