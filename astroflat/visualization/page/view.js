// Licensed under a 3-clause BSD style license - see LICENSE.rst
'use strict';

// Blink, zoom and profiles of a page made by astroflat. Everything is asked from
// where the page came from, and the page makes sense without this script.
(() => {
  const stage = document.getElementById('stage');
  if (!stage) return;
  const layers = document.getElementById('layers');
  const name = document.getElementById('name');
  const images = new Map();
  for (const image of layers.querySelectorAll('img')) images.set(image.dataset.name, image);
  const mask = images.get('mask');
  const shown = [...images.keys()].filter((key) => key !== 'mask');
  const size = { x: Number(stage.dataset.width), y: Number(stage.dataset.height) };
  const view = { scale: 1, x: 0, y: 0 };
  let timer = 0;

  function show(key) {
    for (const other of shown) images.get(other).hidden = other !== key;
    name.textContent = key;
    stage.dataset.shown = key;
    for (const button of document.querySelectorAll('#tools button[data-show]')) {
      button.setAttribute('aria-pressed', String(button.dataset.show === key));
    }
  }

  function toggle() {
    const pair = ['before', 'after'].filter((key) => images.has(key));
    if (pair.length === 2) show(stage.dataset.shown === 'before' ? 'after' : 'before');
  }

  function press(action, on) {
    const button = document.querySelector(`#tools button[data-act="${action}"]`);
    if (button) button.setAttribute('aria-pressed', String(on));
  }

  function blink() {
    if (timer) {
      clearInterval(timer);
      timer = 0;
    } else {
      toggle();
      timer = setInterval(toggle, 700);
    }
    press('blink', timer !== 0);
  }

  function toggleMask() {
    if (!mask) return;
    mask.hidden = !mask.hidden;
    press('mask', !mask.hidden);
  }

  function place() {
    const box = stage.getBoundingClientRect();
    view.scale = Math.min(Math.max(view.scale, 1), 64);
    view.x = Math.min(0, Math.max(view.x, box.width * (1 - view.scale)));
    view.y = Math.min(0, Math.max(view.y, box.height * (1 - view.scale)));
    layers.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.scale})`;
    stage.dataset.scale = view.scale.toFixed(3);
  }

  function zoom(factor, x, y) {
    const old = view.scale;
    view.scale = Math.min(Math.max(old * factor, 1), 64);
    view.x = x + (view.x - x) * (view.scale / old);
    view.y = y + (view.y - y) * (view.scale / old);
    place();
  }

  function home() {
    view.scale = 1;
    place();
  }

  // Look at a place in pixels of the image; its first row is at the bottom.
  function look(x, y, half) {
    const box = stage.getBoundingClientRect();
    view.scale = Math.min(Math.max(Math.min(size.x, size.y) / (2 * half), 1), 64);
    view.x = box.width / 2 - ((x + 0.5) / size.x) * box.width * view.scale;
    view.y = box.height / 2 - (1 - (y + 0.5) / size.y) * box.height * view.scale;
    place();
  }

  const actions = { toggle, blink, mask: toggleMask, home };
  for (const button of document.querySelectorAll('#tools button')) {
    button.addEventListener('click', () => {
      if (button.dataset.show) show(button.dataset.show);
      else actions[button.dataset.act]();
    });
  }

  const keys = { ' ': toggle, b: blink, m: toggleMask, h: home,
    '+': () => zoom(1.25, stage.clientWidth / 2, stage.clientHeight / 2),
    '-': () => zoom(0.8, stage.clientWidth / 2, stage.clientHeight / 2) };
  document.addEventListener('keydown', (event) => {
    const free = !event.ctrlKey && !event.metaKey && !event.altKey;
    // A button that has the focus takes the space bar itself.
    const taken = event.key === ' ' && event.target.closest('button, a');
    if (!free || !(event.key in keys) || taken) return;
    event.preventDefault();
    keys[event.key]();
  });

  stage.addEventListener('wheel', (event) => {
    event.preventDefault();
    const box = stage.getBoundingClientRect();
    zoom(event.deltaY < 0 ? 1.25 : 0.8, event.clientX - box.left, event.clientY - box.top);
  }, { passive: false });
  let held = null;
  stage.addEventListener('pointerdown', (event) => {
    held = { x: event.clientX - view.x, y: event.clientY - view.y };
    stage.setPointerCapture(event.pointerId);
  });
  stage.addEventListener('pointermove', (event) => {
    if (!held) return;
    view.x = event.clientX - held.x;
    view.y = event.clientY - held.y;
    place();
  });
  stage.addEventListener('pointerup', () => { held = null; });
  window.addEventListener('resize', place);

  // ---- profiles

  const panel = document.getElementById('profile');

  function line(values, low, high) {
    const wide = values.length - 1 || 1;
    // A bad pixel is left out.
    return values.map((value, i) => (value === null ? ''
      : `${(100 * i / wide).toFixed(3)},${(100 - 100 * (value - low) / (high - low || 1)).toFixed(3)}`))
      .filter((text) => text).join(' ');
  }

  function draw(mote) {
    const drawn = ['before', 'after', 'flat'].filter((key) => key in mote.profile);
    const all = drawn.flatMap((key) => mote.profile[key]).filter((value) => value !== null);
    const low = Math.min(...all);
    const high = Math.max(...all);
    const space = 'http://www.w3.org/2000/svg';
    const svg = document.createElementNS(space, 'svg');
    svg.setAttribute('viewBox', '-1 -4 102 108');
    svg.setAttribute('preserveAspectRatio', 'none');
    const title = document.createElement('p');
    const first = mote.profile.x;
    const last = first + mote.profile[drawn[0]].length - 1;
    title.append(`rows ${mote.profile.rows}, x = ${first} to ${last}; `
      + `${low.toPrecision(5)} to ${high.toPrecision(5)}`);
    for (const key of drawn) {
      const polyline = document.createElementNS(space, 'polyline');
      polyline.setAttribute('class', key === 'flat' ? 'before' : key);
      polyline.setAttribute('points', line(mote.profile[key], low, high));
      svg.append(polyline);
      const mark = document.createElement('span');
      mark.className = `key ${key === 'flat' ? 'before' : key}`;
      title.append(mark, key);
    }
    panel.replaceChildren(title, svg);
    panel.dataset.mote = mote.row;
  }

  const rows = document.querySelectorAll('#motes tbody tr');
  if (!rows.length || !panel) {
    document.body.dataset.ready = 'yes';
    return;
  }
  fetch(panel.dataset.source).then((answer) => answer.json()).then((motes) => {
    const choose = (i) => {
      rows.forEach((row, j) => row.classList.toggle('chosen', i === j));
      look(motes[i].x, motes[i].y, motes[i].half);
      draw({ ...motes[i], row: i });
    };
    rows.forEach((row, i) => {
      if (i >= motes.length) return;
      row.tabIndex = 0;
      row.addEventListener('click', () => choose(i));
      row.addEventListener('keydown', (event) => {
        if (event.key === 'Enter') choose(i);
      });
    });
    draw({ ...motes[0], row: 0 });
    document.body.dataset.ready = 'yes';
  });
})();
