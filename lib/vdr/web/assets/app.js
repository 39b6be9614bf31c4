'use strict';
// The page of Veidrodelis.Web. Whatever comes from the server goes into the page as text, never as HTML.
(() => {
  const base = document.body.dataset.base;
  const POINTS = 300;
  const EVERY_MS = 1000;
  const element = (id) => document.getElementById(id);
  const state = { id: null, points: [], before: null, paused: false, next: null, shown: 0, values: true };

  const get = async (path, query) => {
    const search = new URLSearchParams(query || {});
    const response = await fetch(`${base}/api/${path}?${search}`, { cache: 'no-store', credentials: 'same-origin' });
    const body = await response.json();
    if (!response.ok) throw new Error(body.error || `${response.status}`);
    return body;
  };

  const size = (bytes) => {
    const units = ['B', 'KB', 'MB', 'GB', 'TB'];
    let unit = 0;
    while (bytes >= 1024 && unit < units.length - 1) { bytes /= 1024; unit += 1; }
    return `${unit === 0 ? bytes : bytes.toFixed(1)} ${units[unit]}`;
  };
  const number = (value) => value.toLocaleString('en');
  const duration = (ms) => (ms === null ? 'never' : ms < 10000 ? `${ms} ms` : `${Math.round(ms / 1000)} s`);

  const node = (name, text, className) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  };

  // Columns: [title, function of a row, class]. A function may return a node.
  // A table that has not changed, or in which somebody is with the keyboard, stays as it is.
  const drawn = {};
  const table = (id, columns, rows, empty) => {
    const content = JSON.stringify(rows);
    if (drawn[id] === content || (drawn[id] !== undefined && element(id).contains(document.activeElement))) return;
    drawn[id] = content;
    const head = node('tr');
    columns.forEach(([title, , className]) => {
      const cell = node('th', title, className);
      cell.scope = 'col';
      head.append(cell);
    });
    const body = node('tbody');
    rows.forEach((row) => {
      const line = node('tr');
      columns.forEach(([, value, className]) => {
        const content = value(row);
        const cell = node('td', undefined, className);
        cell.append(content);
        line.append(cell);
      });
      body.append(line);
    });
    const thead = node('thead');
    thead.append(head);
    element(id).replaceChildren(...(rows.length ? [thead, body] : [node('caption', empty)]));
  };

  const plot = (id, caption, values, text) => {
    const highest = Math.max(1, ...values);
    const x = (index) => 600 * (1 - (values.length - 1 - index) / (POINTS - 1));
    const y = (value) => 116 - (value / highest) * 108;
    const svg = element(id);
    if (values.length > 1) {
      const points = values.map((value, index) => `${x(index).toFixed(1)},${y(value).toFixed(1)}`);
      const make = (name, attributes) => {
        const made = document.createElementNS('http://www.w3.org/2000/svg', name);
        Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
        return made;
      };
      svg.replaceChildren(
        make('polygon', { class: 'area', points: `${x(0).toFixed(1)},118 ${points.join(' ')} 600,118` }),
        make('polyline', { class: 'line', points: points.join(' ') }),
      );
    }
    const last = values.length ? values[values.length - 1] : 0;
    element(caption).textContent = text(last, values.length ? Math.max(...values) : 0);
  };

  const show = (overview) => {
    const now = performance.now();
    if (state.before) {
      const commands = Math.max(0, overview.commands_applied - state.before.commands);
      state.points.push({ rate: Math.round((commands * 1000) / Math.max(1, now - state.before.at)), lag: overview.lag_bytes });
      state.points = state.points.slice(-POINTS);
    }
    state.before = { at: now, commands: overview.commands_applied };
    status(overview);
    plot('rate', 'c-rate', state.points.map((point) => point.rate), (last, max) => `Commands per second: ${number(last)} now, at most ${number(max)}`);
    plot('lag', 'c-lag', state.points.map((point) => point.lag), (last, max) => `Lag: ${size(last)} now, at most ${size(max)}`);
    const shares = [['Keys, about', (row) => number(row.keys), 'number'], ['Memory, about', (row) => size(row.bytes), 'number']];
    table('types', [['Type', (row) => row.name, 'name'], ...shares], overview.types, 'No keys.');
    table('prefixes', [['Prefix', (row) => row.name, 'name'], ...shares], overview.prefixes, 'No keys.');
    table('large', [['Key', (row) => keyButton(row.db, row.key, row.link), 'name'], ['Type', (row) => row.type], ['Size', (row) => (row.type === 'string' ? size(row.size) : number(row.size)), 'number']], overview.large_keys, 'No key has 4,096 elements or 64 KB.');
    table('scripts', [['Time', (row) => clock(row.at_ms)], ['Took', (row) => `${row.ms} ms`, 'number'], ['Source', (row) => row.source, 'name']], overview.scripts, 'No script took 10 ms.');
    table('events', [['Time', (row) => clock(row.at_ms)], ['Event', (row) => row.text]], overview.events, 'No event yet.');
  };

  const clock = (ms) => new Date(ms).toLocaleTimeString();

  const status = (overview) => {
    const good = overview.ready && !overview.stale;
    const text = `${overview.state}, ${overview.primary || 'no server'}${overview.server ? ` (${overview.server})` : ''}`;
    if (element('state').textContent !== text) element('state').textContent = text;
    element('state').className = good ? 'good' : 'bad';
    const facts = [
      ['Keys', number(overview.keys)], ['Memory', size(overview.memory_bytes)], ['Lag', size(overview.lag_bytes)],
      ['Last message', duration(overview.last_message_ms_ago)], ['Offset', number(overview.offset)], ['Commands applied', number(overview.commands_applied)],
      ['Full syncs', number(overview.full_syncs)], ['Partial syncs', number(overview.partial_syncs)], ['Reconnects', number(overview.reconnects)],
      ['Watches', number(overview.watches)], ['Snapshots held', number(overview.snapshots_held)], ['Contradictions', number(overview.divergences)],
    ];
    element('now').replaceChildren(...facts.map(([name, value]) => {
      const pair = node('div');
      pair.append(node('dt', name), node('dd', value));
      return pair;
    }));
    const warnings = [
      !overview.ready && `Not ready: ${number(overview.loading_keys)} keys of the full sync are loaded.`,
      overview.ready && overview.stale && `Stale for ${duration(overview.stale_ms)}: no link streams.`,
      !good && overview.last_error,
      overview.guard_window_ms !== null && `The guard key has been holding writes back for ${duration(overview.guard_window_ms)}.`,
      overview.unknown_values > 0 && `${number(overview.unknown_values)} keys are unknown because of unknown commands.`,
      ...Object.entries(overview.unknown_commands).map(([name, count]) => `Unknown command ${name}, ${number(count)} times.`),
    ].filter(Boolean);
    element('warnings').replaceChildren(...warnings.map((text) => node('li', text)));
    databases(overview.databases);
  };

  const databases = (list) => {
    const select = element('db');
    const now = list.map((row) => `${row.db}`);
    if (Array.from(select.options).map((option) => option.value).join() !== now.join()) {
      const chosen = select.value;
      select.replaceChildren(...list.map((row) => new Option(`${row.db} (${number(row.keys)} keys)`, row.db)));
      if (now.includes(chosen)) select.value = chosen;
    }
  };

  const tick = async () => {
    if (state.paused || document.hidden || state.id === null) return;
    try {
      show(await get('overview', { id: state.id }));
    } catch (error) {
      element('state').textContent = `no answer: ${error.message}`;
      element('state').className = 'bad';
      await instances();
    }
  };

  const instances = async () => {
    const answer = await get('instances').catch(() => null);
    if (!answer) return;
    state.values = answer.values;
    const select = element('instance');
    if (Array.from(select.options).map((option) => option.value).join() !== answer.instances.map((row) => row.id).join()) {
      select.replaceChildren(...answer.instances.map((row) => new Option(row.name, row.id)));
    }
    const ids = answer.instances.map((row) => row.id);
    if (!ids.includes(state.id)) choose(ids.length ? ids[0] : null);
    if (!ids.length) element('state').textContent = 'There is no instance on this node.';
  };

  const choose = (id) => {
    Object.assign(state, { id, points: [], before: null, next: null });
    if (id !== null) element('instance').value = id;
    element('keys').replaceChildren();
    delete drawn.keys;
    element('found').textContent = '';
    element('value').hidden = true;
    element('more').hidden = true;
  };

  // Names of keys may be any bytes: `link` is the key, and `name` is what is shown.
  const keyButton = (db, name, link) => {
    const button = node('button', name, 'key');
    button.type = 'button';
    button.addEventListener('click', () => look(db, name, link));
    return button;
  };

  const look = async (db, name, link) => {
    element('h-value').textContent = name;
    element('value').hidden = false;
    try {
      const value = await get('value', { id: state.id, db, key: link });
      element('about').textContent = value.type ? `${value.type}, ${value.ttl_ms === null ? 'no expiry' : `expires in ${duration(value.ttl_ms)}`}, ${value.type === 'string' ? size(value.size) : `${number(value.size)} elements`}` : 'The key is gone.';
      element('preview').textContent = value.preview === null ? 'Values are hidden.' : value.preview.join('\n') + (value.cut ? '\n…' : '');
    } catch (error) {
      element('about').textContent = error.message;
      element('preview').textContent = '';
    }
    element('value').focus();
  };

  let rows = [];
  const search = async (more) => {
    const query = { id: state.id, db: element('db').value || 0, prefix: element('prefix').value };
    if (more) query.cursor = state.next;
    try {
      const answer = await get('keys', query);
      rows = more ? rows.concat(answer.keys).slice(0, 2000) : answer.keys;
      state.next = answer.next;
      element('more').hidden = answer.next === null || rows.length >= 2000;
      element('found').textContent = `${number(rows.length)} keys found${answer.next === null ? '' : ', and there may be more'}.`;
      delete drawn.keys;
      table('keys', [['Key', (row) => keyButton(query.db, row.key, row.link), 'name'], ['Type', (row) => row.type || ''], ['Expires in', (row) => (row.ttl_ms === null ? '' : duration(row.ttl_ms)), 'number'], ['Size', (row) => (row.type === 'string' ? size(row.size) : number(row.size)), 'number']], rows, 'No key of those that were looked at.');
    } catch (error) {
      element('found').textContent = error.message;
    }
  };

  element('instance').addEventListener('change', (event) => { choose(event.target.value); tick(); });
  element('search').addEventListener('submit', (event) => { event.preventDefault(); search(false); });
  element('more').addEventListener('click', () => search(true));
  element('pause').addEventListener('click', (event) => {
    state.paused = !state.paused;
    event.target.setAttribute('aria-pressed', `${state.paused}`);
    event.target.textContent = state.paused ? 'Go on' : 'Pause';
  });
  document.addEventListener('visibilitychange', () => { state.before = null; tick(); });

  instances().then(tick);
  setInterval(tick, EVERY_MS);
})();
