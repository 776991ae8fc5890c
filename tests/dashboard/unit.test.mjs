// The dashboard's pure modules by themselves, bundled as they are for the browser. Run by tests/dashboard/run.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { MODULES, ROOT } from './world.mjs';

const esbuild = createRequire(`${MODULES}/package.json`)('esbuild');
const built = await esbuild.build({
  entryPoints: [`${ROOT}/tests/dashboard/pure.ts`],
  bundle: true,
  write: false,
  format: 'esm',
});
const { ansi, job_model, lines, match, query, rows, time, token, virtual, words, wrap } = await import(
  'data:text/javascript;base64,' + Buffer.from(built.outputFiles[0].contents).toString('base64')
);

const E = '\x1b';
const styles = text => ansi.render(text, ansi.plain).pieces.map(p => [p.text, p.style]);

test('colours of the three palettes become styles', () => {
  assert.deepEqual(styles(`a${E}[31mb${E}[0mc`), [
    ['a', {}],
    ['b', { fg: 1 }],
    ['c', {}],
  ]);
  assert.deepEqual(styles(`${E}[1;97;44mx`), [['x', { bold: true, fg: 15, bg: 4 }]]);
  assert.deepEqual(styles(`${E}[38;5;208mx`), [['x', { fg: '#ff8700' }]]);
  assert.deepEqual(styles(`${E}[38;5;9;48;5;244mx`), [['x', { fg: 9, bg: '#808080' }]]);
  assert.deepEqual(styles(`${E}[38;2;1;22;255mx`), [['x', { fg: '#0116ff' }]]);
});

test('a style goes on into the next line, until it is reset', () => {
  const first = ansi.render(`${E}[32mgreen`, ansi.plain);
  const second = ansi.render(`still${E}[m not`, first.end);
  assert.deepEqual(
    second.pieces.map(p => [p.text, p.style.fg]),
    [
      ['still', 2],
      [' not', undefined],
    ],
  );
  assert.equal(second.end, ansi.plain);
});

test('sequences that are no colours leave nothing behind, torn ones neither', () => {
  const links = `${E}]8;;http://x${E}\\text${E}]8;;${E}\\`;
  for (const [raw, shown] of [
    [`a${E}[2Kb`, 'ab'],
    [`a${E}[?25lb`, 'ab'],
    [links, 'text'],
    [`a${E}]0;title\x07b`, 'ab'],
    [`a${E}(Bb`, 'ab'],
    [`a${E}[38;5`, 'a'],
    [`a${E}`, 'a'],
    [`${E}Pq#0${E}\\b`, 'b'],
  ]) {
    assert.equal(ansi.strip(raw), shown, JSON.stringify(raw));
  }
});

test('control characters are shown as their pictures, and a tab stays', () => {
  assert.equal(ansi.strip('a\x00b\x07\tc\x7f'), 'a␀b␇\tc␡');
});

test('what turns text around or has no width is shown as an escape', () => {
  assert.equal(ansi.strip('a\u202eb\u200bc\ufeffd\u2066e\u009bf'), 'a\\u202eb\\u200bc\\ufeffd\\u2066e\\u009bf');
  assert.equal(ansi.seen('k=\u{e0041}\nv'), 'k=\\u{e0041}\nv');
  for (const plain of ['é', '日本', '😀', '❤\ufe0f', 'e\u0301', 'שלום', '\t']) assert.equal(ansi.strip(plain), plain);
});

test('of a long line no more is drawn than a browser bears, and the rest is counted', () => {
  const one = [{ text: 'a'.repeat(1_000_000), style: {} }];
  assert.deepEqual(ansi.bounded(one), { to: 20_000, more: 980_000 });
  const coloured = Array.from({ length: 10_000 }, () => ({ text: 'ab', style: {} }));
  assert.deepEqual(ansi.bounded(coloured), { to: 4_000, more: 16_000 });
  assert.deepEqual(ansi.bounded(coloured.slice(0, 3)), { to: 6, more: 0 });
  const marked = ansi.mark([{ text: 'a'.repeat(20_000), style: {} }], 'a');
  assert.ok(marked.length <= 2_001);
  assert.equal(marked.map(p => p.text).join('').length, 20_000);
});

test('a part of a line has the marks of what a search found across its borders', () => {
  const { pieces } = ansi.render(`xx needle ${E}[31mneedle`, ansi.plain);
  for (let at = 0; at <= 16; ++at) {
    const parts = [ansi.marked(pieces, 'needle', 0, at), ansi.marked(pieces, 'needle', at, 16)].flat();
    assert.equal(parts.map(p => p.text).join(''), 'xx needle needle');
    const hits = parts.filter(p => p.hit);
    assert.equal(hits.map(p => p.text).join(''), 'needleneedle', `cut at ${at}`);
  }
});

test('a long line breaks by columns, with tabs, wide characters and marks', () => {
  assert.deepEqual(wrap.breaks('', 10), [0]);
  assert.deepEqual(wrap.breaks('a'.repeat(20), 10), [0, 10]);
  assert.deepEqual(wrap.breaks('日本語日本語', 5), [0, 2, 4]);
  assert.deepEqual(wrap.breaks('😀😀😀', 4), [0, 4]);
  assert.deepEqual(wrap.breaks('a\tbcdefgh', 12), [0, 6]);
  assert.deepEqual(wrap.breaks('\t\t', 10), [0, 1]);
  assert.deepEqual(wrap.breaks('e\u0301'.repeat(10), 10), [0]);
});

test('a broken colour changes nothing that follows for the worse', () => {
  for (const raw of [`${E}[38mx`, `${E}[38;5mx`, `${E}[38;2;1mx`, `${E}[999mx`, `${E}[38;5;999mx`, `${E}[;;mx`]) {
    assert.equal(ansi.strip(raw), 'x');
    assert.deepEqual(styles(raw + `${E}[0my`).at(-1), ['y', {}]);
  }
});

test('what a search found is marked across pieces, whatever its case', () => {
  const { pieces } = ansi.render(`an Er${E}[31mROR and error`, ansi.plain);
  const marked = ansi.mark(pieces, 'error');
  assert.deepEqual(
    marked.filter(p => p.hit).map(p => p.text),
    ['Er', 'ROR', 'error'],
  );
  assert.equal(marked.map(p => p.text).join(''), 'an ErROR and error');
  assert.deepEqual(
    ansi
      .slice(marked, 4, 8)
      .map(p => p.text)
      .join(''),
    'rROR',
  );
});

test('lines are the same however the output is cut into pieces', () => {
  const text = 'one\ntwo é\r\n10%\r50%\r100%\n\nlast';
  const bytes = Buffer.from(text);
  const whole = new lines.log_lines();
  whole.add('stdout', 0, text);
  assert.deepEqual(
    whole.lines.map(l => l.text),
    ['one', 'two é', '100%', '', 'last'],
  );
  assert.deepEqual(
    whole.lines.map(l => l.number),
    [1, 2, 3, 4, 5],
  );
  for (let cut = 1; cut < bytes.length; ++cut) {
    if ((bytes[cut] & 0xc0) === 0x80) continue; // the coordinator tears no character
    const parts = new lines.log_lines();
    parts.add('stdout', 0, bytes.subarray(0, cut).toString());
    parts.add('stdout', cut, bytes.subarray(cut).toString());
    assert.deepEqual(
      parts.lines.map(l => l.text),
      whole.lines.map(l => l.text),
      `cut at ${cut}`,
    );
  }
});

test('a piece that comes twice, or half twice, goes in once', () => {
  const log = new lines.log_lines();
  log.add('stdout', 0, 'aé\nb');
  log.add('stdout', 0, 'aé\nb');
  log.add('stdout', 3, '\nbc\nd');
  assert.deepEqual(
    log.lines.map(l => l.text),
    ['aé', 'bc', 'd'],
  );
});

test('output that is no text is counted in bytes, so that nothing behind it is lost', () => {
  const log = new lines.log_lines();
  const raw = Buffer.from([0x61, 0xff, 0xfe, 0x80, 0x0a]);
  log.add('stdout', 0, new Uint8Array(raw));
  log.add('stdout', 5, 'next\n');
  log.add('stdout', 0, new Uint8Array(raw));
  assert.deepEqual(
    log.lines.map(l => l.text),
    ['a\ufffd\ufffd\ufffd', 'next'],
  );
});

test('a character torn between two pieces of bytes is whole, also when they come again in another cut', () => {
  const raw = new Uint8Array(Buffer.from('\ufeff\xff aé€😀 b\nc'));
  for (let cut = 1; cut < raw.length; ++cut) {
    const log = new lines.log_lines();
    log.add('stdout', 0, raw.slice(0, cut));
    log.add('stdout', 0, raw.slice(0, cut - 1));
    log.add('stdout', 0, Buffer.from(raw).toString());
    log.add('stdout', raw.length, 'd');
    assert.deepEqual(
      log.lines.map(l => l.text),
      ['\ufeff\xff aé€😀 b', 'cd'],
      `cut at ${cut}`,
    );
  }
});

test('a character whose rest never comes is shown as a broken one', () => {
  const log = new lines.log_lines();
  log.add('stdout', 0, new Uint8Array([0x61, 0xe2, 0x82]));
  log.add('stdout', 3, 'b\n');
  log.add('stdout', 5, new Uint8Array([0xe2]));
  log.over();
  assert.deepEqual(
    log.lines.map(l => l.text),
    ['a\ufffdb', '\ufffd'],
  );
});

test('a token is taken from the address whatever stands there, and what can be none is refused', () => {
  assert.equal(token.token_of('#token=a%2Bb'), 'a+b');
  assert.equal(token.token_of('#token=%'), '%');
  assert.equal(token.token_of('#token='), '');
  assert.equal(token.token_of('#L12'), undefined);
  assert.equal(token.refused_token('aZ0-_~!'), '');
  for (const text of ['', 'a b', 'tök', 'a\u200b', 'a\n']) assert.notEqual(token.refused_token(text), '', text);
});

test('streams count their own lines, and gaps are lines without a number of their own', () => {
  const log = new lines.log_lines();
  log.add('stdout', 0, 'a\n');
  log.add('stderr', 0, 'x\ny\n');
  log.gap('stdout', 2, 5002);
  log.gap('stdout', 2, 5002);
  log.add('stdout', 5002, 'z\n');
  assert.deepEqual(
    log.lines.map(l => [l.stream, l.number, l.gap ?? l.text]),
    [
      ['stdout', 1, 'a'],
      ['stderr', 1, 'x'],
      ['stderr', 2, 'y'],
      ['stdout', 1, 5000],
      ['stdout', 2, 'z'],
    ],
  );
});

test('a progress bar of a million steps is one line and stays small', () => {
  const log = new lines.log_lines();
  let at = 0;
  for (let i = 0; i < 20_000; ++i) {
    const text = `step ${i}\r`;
    log.add('stdout', at, text);
    at += text.length;
  }
  assert.equal(log.lines.length, 1);
  assert.equal(log.lines[0].text, 'step 19999');
});

test('a search goes on where it ended', () => {
  const log = new lines.log_lines();
  log.add('stdout', 0, `a\n${E}[31mNeed${E}[0mle\nb\n`);
  const found = [];
  lines.search(found, 'needle', log.lines, 0);
  log.add('stdout', 21, 'needle\n');
  lines.search(found, 'needle', log.lines, 3);
  assert.deepEqual(found, [1, 3]);
});

test('a window has the rows on the screen and few others', () => {
  assert.deepEqual(virtual.window_of(0, 400, 1000, 20, 5), { height: 20000, first: 0, last: 25, top: 0 });
  const middle = virtual.window_of(10000, 400, 1000, 20, 5);
  assert.deepEqual([middle.first, middle.last, middle.top], [495, 525, 9900]);
  assert.equal(virtual.window_of(0, 400, 0, 20).last, 0);
});

test('every row of a list of any length can be shown, the first and the last among them', () => {
  for (const count of [1, 50, 1000, 1_000_000, 30_000_000]) {
    for (const row of [0, Math.floor(count / 3), Math.max(0, count - 2), count - 1]) {
      const port = 400;
      const scroll = virtual.scroll_to(row, port, count, 19);
      const w = virtual.window_of(scroll, port, count, 19);
      assert.ok(w.first <= row && row < w.last, `row ${row} of ${count}: ${JSON.stringify(w)}`);
      const y = w.top + (row - w.first) * 19 - scroll;
      assert.ok(y > -19 && y < port, `row ${row} of ${count} at ${y}`);
      assert.ok(w.height < 16_000_000 && w.last - w.first < 60);
    }
    const end = virtual.window_of(Math.max(0, virtual.window_of(0, 400, count, 19).height - 400), 400, count, 19);
    assert.equal(end.last, count);
  }
});

test('wrapped lines are found by row and by line, also after the last one grew', () => {
  const index = new virtual.wrap_index();
  const rows = [1, 3, 2];
  index.update(3, 0, i => rows[i]);
  assert.equal(index.rows, 6);
  assert.deepEqual(
    [0, 1, 3, 4, 5].map(r => index.line_at(r)),
    [
      { line: 0, part: 0 },
      { line: 1, part: 0 },
      { line: 1, part: 2 },
      { line: 2, part: 0 },
      { line: 2, part: 1 },
    ],
  );
  rows[2] = 5;
  rows.push(1);
  index.update(4, 2, i => rows[i]);
  assert.equal(index.rows, 10);
  assert.equal(index.row_of(3), 9);
});

test('a filter survives the address bar', () => {
  const filter = { state: ['active', 'failed'], job: 'a.b', worker: 'w 1&2', tag: 'k=v=w', since: '2h' };
  assert.deepEqual(query.filter_of(query.search_of(filter)), filter);
  assert.equal(query.search_of(query.no_filter), '');
  assert.ok(query.is_empty(query.filter_of('?state=nonsense&other=1&job=%20')));
  assert.deepEqual(query.filter_of('?state=failed,active,failed,x').state, ['active', 'failed']);
  assert.deepEqual(query.body_of(filter), {
    state: 'active,failed',
    job: 'a.b',
    worker: 'w 1&2',
    tag: 'k=v=w',
    since: '2h',
  });
});

const runs = (from, to) =>
  Array.from({ length: from - to + 1 }, (_, i) => ({ id: String(from - i).padStart(4, '0') }));
const page = (from, to, next) => ({ items: runs(from, to), next_cursor: next ?? null });
const ids = list => list.map(r => Number(r.id));

test('a list that is read does not move, and what came waits above it', () => {
  let list = rows.append(rows.first_rows(page(20, 11, 'a')), page(10, 1));
  list = rows.lay_over(list, page(22, 13, 'b'), true);
  assert.deepEqual([ids(list.items), ids(list.fresh), list.next], [ids(runs(20, 1)), [22, 21], null]);
  list = rows.take_fresh(list);
  assert.deepEqual([ids(list.items), list.fresh], [ids(runs(22, 1)), []]);
});

test('a list that nobody reads takes what came, and begins anew when more came than a page holds', () => {
  const list = rows.first_rows(page(20, 11, 'a'));
  assert.deepEqual(ids(rows.lay_over(list, page(22, 13, 'b'), false).items), ids(runs(22, 11)));
  const leap = rows.lay_over(list, page(90, 81, 'c'), false);
  assert.deepEqual([ids(leap.items), leap.next], [ids(runs(90, 81)), 'c']);
  const held = rows.lay_over(list, page(90, 81, 'c'), true);
  assert.deepEqual([ids(held.items), ids(held.fresh), held.fresh_next], [ids(runs(20, 11)), ids(runs(90, 81)), 'c']);
  const taken = rows.take_fresh(held);
  assert.deepEqual([ids(taken.items), taken.next, taken.fresh_next], [ids(runs(90, 81)), 'c', null]);
});

test('rows that left the filter stay where they are, and are told apart', () => {
  const list = rows.lay_over(
    rows.first_rows(page(20, 11, 'a')),
    { items: runs(20, 10).filter(r => r.id !== '0015'), next_cursor: 'b' },
    true,
  );
  assert.deepEqual([ids(list.items), [...list.gone]], [ids(runs(20, 11)), ['0015']]);
  assert.deepEqual([...rows.lay_over(list, page(20, 11, 'a'), true).gone], []);
});

test('durations are two units at most', () => {
  for (const [seconds, text] of [
    [0, '0 ms'],
    [0.0004, '0 ms'],
    [0.85, '850 ms'],
    [0.9996, '1.0 s'],
    [2.04, '2.0 s'],
    [9.96, '10 s'],
    [59.7, '1 m'],
    [75, '1 m 15 s'],
    [3600, '1 h'],
    [3725, '1 h 2 m'],
    [200000, '2 d 7 h'],
    [-5, '-5.0 s'],
  ]) {
    assert.equal(time.duration(seconds), text);
  }
  assert.equal(time.relative(1000, 1500), 'just now');
  assert.equal(time.relative(0, 75_000), '1 m ago');
  assert.equal(time.relative(75_000, 0), 'in 1 m 15 s');
  for (const [text, seconds] of [
    ['2s', 2],
    ['1h30m', 5400],
    ['500ms', 0.5],
    ['90', 90],
    ['', null],
    ['soon', null],
    ['1h x', null],
  ]) {
    assert.equal(time.parse_duration(text), seconds, text);
  }
  assert.equal(time.bytes(1536), '1.5 KiB');
  assert.equal(time.bytes(25276502016), '23.5 GiB');
  assert.equal(time.absolute('2026-11-26T04:32:02.517Z', true), '2026-11-26 04:32:02Z');
});

test('words are split and joined as a shell does', () => {
  assert.deepEqual(words.split_words(`sh -c 'a | b' "x \\"y\\" $z" e\\ f ''`), [
    'sh',
    '-c',
    'a | b',
    'x "y" $z',
    'e f',
    '',
  ]);
  assert.equal(words.split_words(`it's`), null);
  assert.equal(words.split_words('a\\'), null);
  for (const list of [['a'], ['', 'b c', `it's`, '$x', '"'], ['--flag=a b', '\n\t', '\\']]) {
    assert.deepEqual(words.split_words(words.join_words(list)), list);
  }
});

test('a bulk cancellation counts what was cancelled and what had ended', () => {
  const now = (state, finished_at) => ({ now: { state, finished_at } });
  const answers = [now('cancelled', 'x'), now('active', null), now('failed', 'x'), now('succeeded', 'x')];
  assert.deepEqual(words.told_cancels(answers), {
    text: '1 cancelled, 1 told to end, 2 had ended already',
    bad: false,
  });
  const failed = words.told_cancels([{ failed: 'no' }, now('cancelled', 'x')]);
  assert.deepEqual(failed, { text: '1 cancelled, 1 could not be cancelled: no', bad: true });
});

test('today begins at midnight in zones that are half an hour off, too', () => {
  const at = Date.parse('2026-11-26T18:31:00Z'); // a minute after midnight in India
  assert.equal(new Date(time.quarter(at)).toISOString(), '2026-11-26T18:30:00.000Z');
});

test('a run is told as the command that starts it again', () => {
  const base = { job: 'j', job_version: null, args: null };
  assert.equal(
    words.command_of({ ...base, job_version: 3, args: '--day "a b"', spec: {} }),
    `orchestrator job run j --args '--day "a b"'`,
  );
  assert.equal(
    words.command_of({ ...base, spec: { command: ['echo', 'a b'], env: { K: 'v w' }, retry: { max_attempts: 3 } } }),
    `orchestrator submit --name j --env 'K=v w' --retries 2 -- echo 'a b'`,
  );
  assert.match(words.command_of({ ...base, spec: { command: ['x'], stdin: 'a' } }), /# without: stdin$/);
});

test('a definition survives the form, with every key that has no field', () => {
  const definition = {
    name: 'n',
    description: 'd',
    script: 'a.py',
    args: '--x',
    cwd: '/tmp',
    env: { A: '1', B: 'x=y' },
    timeout: '30m',
    retry: { max_attempts: 3, backoff: '10s', on_exit: [75] },
    queue: 'q',
    priority: 5,
    max_running: 2,
    locks: ['db'],
    rate: '10/m',
    requires: { labels: { os: 'linux' }, resources: { gpu: 1 } },
    tags: { team: 'x' },
    schedule: { daily: '02:30', time_zone: 'Asia/Hong_Kong', overlap: 'queue', jitter: '10m', exclude: ['holidays'] },
  };
  const { definition: again, errors } = job_model.definition_of(job_model.form_of(definition));
  assert.deepEqual(errors, {});
  assert.deepEqual(again, definition);
  const command = { name: 'c', command: ['sh', '-c', 'a | b'], schedule: { manual: true } };
  assert.deepEqual(job_model.definition_of(job_model.form_of(command)).definition, command);
  const noop = { name: 'b', builtin: 'noop' };
  assert.deepEqual(job_model.definition_of(job_model.form_of(noop)), { definition: noop, errors: {} });
});

const saved = (definition, change = {}) =>
  job_model.definition_of({ ...job_model.form_of(definition), ...change }, definition);

test('saving a form alters nothing that was not touched', () => {
  const definition = {
    name: 'n',
    description: ' two\nlines ',
    command: ['sh', '-c', 'first\nsecond\n'],
    cwd: '/a b ',
    env: { A: 'x\ny', B: ' b ', 'odd=name': '1', ' C': '2', D: 'x\ry' },
    timeout: 90,
    tags: { 'k=': 'v', plain: 'w' },
    requires: { labels: { 'a\nb': 'c', os: 'linux' } },
    schedule: { daily: ' 02:30', time_zone: ' UTC', jitter: '10m' },
  };
  assert.deepEqual(saved(definition), { definition, errors: {} });
  const script = { name: 's', script: 'a.py ', args: '--x\n --y ' };
  assert.deepEqual(saved(script), { definition: script, errors: {} });
  const changed = { ...definition, env: { ...definition.env, B: 'c', E: '3' }, description: 'other\ntext\n' };
  assert.deepEqual(saved(definition, { env: 'B=c\nE=3', description: 'other\ntext\n' }).definition, changed);
});

test('a schedule among the other keys is sent when it names a rule, and refused at its field when not', () => {
  const base = { ...job_model.empty_form, name: 'n', command: 'true' };
  const more = schedule => ({ ...base, more: JSON.stringify({ schedule }) });
  const { definition, errors } = job_model.definition_of(more({ daily: '02:30', jitter: '1m' }));
  assert.deepEqual([definition.schedule, errors], [{ daily: '02:30', jitter: '1m' }, {}]);
  assert.deepEqual(Object.keys(job_model.definition_of(more({ jitter: '1m' })).errors), ['more']);
});

test('other keys that must be objects and are none are told at their field', () => {
  for (const more of ['{"retry": 3}', '{"requires": ["a"]}', '{"schedule": "daily"}', '{"env": null}', '{']) {
    const { errors } = job_model.definition_of({ ...job_model.empty_form, name: 'n', command: 'true', more });
    assert.deepEqual(Object.keys(errors), ['more'], more);
  }
});

test('what cannot be is told at its field before the coordinator is asked', () => {
  const wrong = { ...job_model.empty_form, command: `it's`, env: 'A=1\nnonsense', rule: 'cron', more: '[1]' };
  const { errors } = job_model.definition_of(wrong);
  assert.deepEqual(Object.keys(errors).sort(), ['command', 'env', 'more', 'name', 'when']);
});

test('a pointer of a problem names the field', () => {
  const form = { ...job_model.empty_form, rule: 'cron' };
  for (const [pointer, field] of [
    ['/schedule/cron', 'when'],
    ['/schedule/time_zone', 'time_zone'],
    ['/env/A', 'env'],
    ['/command/0', 'command'],
    ['/retry/max_attempts', 'attempts'],
    ['/requires/labels/os', 'labels'],
    ['/locks', 'more'],
    ['/schedule/jitter', 'more'],
    ['', 'command'],
  ]) {
    assert.equal(job_model.field_of(pointer, form), field, pointer);
  }
});

test('an address fits the pattern that the coordinator knows it by', () => {
  assert.deepEqual(match.match('/runs/{id}', '/runs/a%20b'), ['a b']);
  assert.equal(match.match('/runs/{id}', '/runs/'), null);
  assert.equal(match.match('/runs/{id}', '/runs/%zz'), null);
  assert.deepEqual(match.match('/jobs/{name}/edit', '/jobs/x/edit'), ['x']);
  const pages = JSON.parse(readFileSync(`${ROOT}/src/dashboard/pages.json`));
  const shown = readFileSync(`${ROOT}/src/dashboard/main.tsx`, 'utf8');
  for (const page of pages) assert.ok(shown.includes(`'${page}'`), `main.tsx shows nothing for ${page}`);
});

test('no source of the dashboard makes HTML of text', () => {
  const sources = esbuild.buildSync({
    entryPoints: [`${ROOT}/src/dashboard/main.tsx`],
    bundle: true,
    write: false,
    metafile: true,
    jsx: 'automatic',
    jsxImportSource: 'preact',
    nodePaths: [`${MODULES}/node_modules`],
    absWorkingDir: ROOT,
  });
  const ours = Object.keys(sources.metafile.inputs).filter(path => path.startsWith('src/dashboard/'));
  assert.ok(ours.length > 15);
  for (const path of ours) {
    assert.doesNotMatch(
      readFileSync(`${ROOT}/${path}`, 'utf8'),
      /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(/,
      path,
    );
  }
});
