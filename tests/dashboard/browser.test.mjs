// The dashboard in a real browser against the real program. Every wait is for something that the page shows; nothing
// sleeps. Run by tests/dashboard/run.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { AXE, World, launch, open_page } from './world.mjs';

let browser;
let world; // shared by the tests that need no special one
before(async () => {
  [browser, world] = await Promise.all([launch(), World.with_worker()]);
});
after(async () => {
  await browser?.close();
  world?.close();
});

const shows = (page, text) => page.getByText(text).first().waitFor();
const heading = (page, name) => page.getByRole('heading', { level: 1, name, exact: true }).waitFor();
const button = (page, name) => page.getByRole('button', { name, exact: true });

async function in_page(path, work, options) {
  const page = await open_page(browser, world, path, options);
  try {
    await work(page);
    assert.deepEqual(page.errors, []);
  } finally {
    await page.context().close();
  }
}

/// A job that says `begin`, waits for a file, says `more` and fails with 3.
function waiting_job(name) {
  const file = join(world.dir, `go-${name}`);
  return { file, script: `echo begin; while [ ! -e ${file} ]; do sleep 0.02; done; echo more; exit 3` };
}

test('the portal: a job is made in the form, run, watched live, seen to fail, retried, and paused', async () => {
  const { file, script } = waiting_job('portal');
  await in_page('/jobs:new', async page => {
    await heading(page, 'New job');
    await button(page, 'Create').click();
    await shows(page, 'a job needs a name');
    await page.getByLabel('Name', { exact: true }).fill('portal');
    await page.getByLabel('Command', { exact: true }).fill(`sh -c '${script}'`);
    await page.getByLabel('Schedule', { exact: true }).selectOption('cron');
    await page.getByLabel('Runs', { exact: true }).fill('99 2 * * *');
    await shows(page, '99 is outside 0-59'); // in the preview, before anything is stored
    await button(page, 'Create').click();
    const when = page.getByLabel('Runs', { exact: true });
    await page.locator('.field.wrong', { has: when }).getByText('99 is outside 0-59').waitFor();
    assert.equal(await when.evaluate(e => e === document.activeElement), true, 'the wrong field has the focus');
    await when.fill('30 2 * * *');
    await page.getByLabel('Time zone').fill('Asia/Hong_Kong');
    await page.locator('.preview li', { hasText: '02:30 +08:00' }).first().waitFor();
    assert.equal(await page.locator('.preview li').count(), 5);
    await button(page, 'Create').click();

    await heading(page, 'portal');
    await button(page, 'Run').click();
    await button(page, 'Run now').click();
    await page.locator('.log .row', { hasText: 'begin' }).waitFor();
    await page.locator('.sum .state.blue').waitFor();
    assert.equal(await page.locator('.log .row', { hasText: 'more' }).count(), 0);
    writeFileSync(file, '');
    await page.locator('.log .row', { hasText: 'more' }).waitFor(); // live, without a reload
    await page.locator('.sum .state.red', { hasText: 'exit 3' }).waitFor();

    const first = page.url();
    await button(page, 'Retry').click();
    await page.waitForURL(url => url.href !== first);
    await page.locator('.sum .state.red', { hasText: 'exit 3' }).waitFor();
    await shows(page, 'Retry of');

    await page.getByRole('link', { name: 'Jobs', exact: true }).click();
    const row = page.getByRole('row').filter({ has: page.getByRole('link', { name: 'portal', exact: true }) });
    await row.getByRole('button', { name: 'Pause' }).click();
    await row.getByText('paused').waitFor();
    await page.getByRole('button', { name: 'Run portal' }).click();
    await button(page, 'Run now').click();
    await shows(page, 'Why it waits');
    await shows(page, 'job paused');
    await page.goBack();
    await row.getByRole('button', { name: 'Resume' }).click();
    await row.locator('.state.red').waitFor();
  });
  assert.equal((await world.api('GET', '/jobs/portal')).definition.schedule.cron, '30 2 * * *');
});

test('an edited job keeps what the form does not know, and a change in between is not overwritten', async () => {
  const definition = { command: ['true'], locks: ['db'], retry: { max_attempts: 2, on_exit: [75] } };
  await world.api('PUT', '/jobs/edited', definition);
  await in_page('/jobs/edited', async page => {
    await page.getByRole('link', { name: 'Edit', exact: true }).click();
    await page.getByLabel('Timeout').fill('soon');
    await button(page, 'Save').click();
    await page.locator('.field.wrong', { has: page.getByLabel('Timeout') }).waitFor();
    await page.getByLabel('Timeout').fill('5m');
    await world.api('PUT', '/jobs/edited', { ...definition, priority: 7 });
    await button(page, 'Save').click();
    await page
      .getByRole('alert')
      .filter({ hasText: /version/ })
      .waitFor();
    await page.reload();
    assert.equal(page.questions, 1, 'the browser asks before it throws away what was typed');
    await page.getByLabel('Timeout').fill('5m');
    await page.getByRole('link', { name: 'Runs', exact: true }).click();
    await page.getByRole('dialog', { name: 'Leave without saving?' }).waitFor();
    await page.keyboard.press('Escape');
    await page.goBack();
    await button(page, 'Back').click(); // of the question
    assert.equal(await page.getByLabel('Timeout').inputValue(), '5m');
    await button(page, 'Save').click();
    await heading(page, 'edited');
    await page.getByRole('link', { name: 'Edit', exact: true }).click();
    await page.getByLabel('Timeout').fill('6m');
    await page.getByRole('link', { name: 'Queues', exact: true }).click();
    await button(page, 'Leave it').click();
    await heading(page, 'Queues');

    await page.goto(world.url + '/jobs:new');
    await page.getByLabel('Name', { exact: true }).fill('edited');
    await page.getByLabel('Command', { exact: true }).fill('true');
    await page.getByLabel('Command', { exact: true }).press('Control+Enter');
    const name = page.getByLabel('Name', { exact: true });
    await page.locator('.field.wrong', { has: name }).getByText('there is a job of this name already').waitFor();
  });
  const stored = (await world.api('GET', '/jobs/edited')).definition;
  assert.deepEqual(stored, {
    name: 'edited',
    command: ['true'],
    timeout: '5m',
    priority: 7,
    locks: ['db'],
    retry: definition.retry,
  });
});

test('a token is asked for once, a wrong one refused with the reason, and no address keeps it', async () => {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(world.url + '/runs?state=failed');
  await shows(page, 'admin.token');
  await page.getByLabel('Token').fill('wrong');
  await page.keyboard.press('Enter');
  await page.getByRole('alert').filter({ hasText: 'valid token' }).waitFor();
  await page.getByLabel('Token').fill('tök en');
  await page.keyboard.press('Enter');
  await page.getByRole('alert').filter({ hasText: 'copied with something else' }).waitFor();
  await page.getByLabel('Token').fill(world.token);
  await page.keyboard.press('Enter');
  await heading(page, 'Runs');
  assert.equal(new URL(page.url()).search, '?state=failed');
  const readable = () => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]);
  const kept = await page.evaluate(readable);
  assert.equal(/orc_|orchestrator_/.test(kept), false, 'no script can read what lets in');
  const [cookie] = await context.cookies();
  assert.deepEqual([cookie.httpOnly, cookie.sameSite, cookie.expires], [true, 'Strict', -1]);
  await page.reload();
  await heading(page, 'Runs');

  const [linked] = await Promise.all([
    context.waitForEvent('page'),
    page.getByRole('link', { name: 'Jobs', exact: true }).click({ modifiers: ['Control'] }),
  ]);
  await linked.locator('.dot.live').waitFor(); // a tab that was opened by a link needs no second login
  await heading(linked, 'Jobs');

  const other = await context.newPage();
  await other.goto(`${world.url}/#token=${world.token}`);
  await other.locator('.dot.live').waitFor();
  assert.equal(new URL(other.url()).hash, '');
  assert.equal(await other.evaluate(() => history.length <= 2 && !location.href.includes('token')), true);
  await button(other, 'Leave').click();
  await shows(other, 'admin.token');
  assert.equal(await other.locator('#content *').count(), 0);
  await shows(page, 'admin.token'); // or a reload would bring it back
  await other.reload();
  await shows(other, 'admin.token');
  await other.goto(world.url + '/runs#token=%');
  await other.getByRole('alert').filter({ hasText: 'valid token' }).waitFor();
  assert.equal(new URL(other.url()).hash, '');
  await context.close();
});

test('a login that is needed in between comes above the page, and what is not allowed is only a message', async () => {
  const refusal = status => route =>
    route.fulfill({ status, contentType: 'application/problem+json', body: `{"detail":"refused with ${status}"}` });
  await in_page('/jobs:new', async page => {
    await page.getByLabel('Name', { exact: true }).fill('typed');
    await page.getByLabel('Command', { exact: true }).fill('true');
    await page.route('**/api/v1/jobs/typed', refusal(403));
    await button(page, 'Create').click();
    await page.getByRole('alert').filter({ hasText: 'refused with 403' }).waitFor();
    assert.equal(await page.getByLabel('Token').count(), 0);
    await page.route('**/api/v1/jobs/typed', refusal(401));
    await button(page, 'Create').click();
    await page.getByRole('alert').filter({ hasText: 'refused with 401' }).last().waitFor();
    await page.keyboard.press('Escape');
    await page.keyboard.press('Escape');
    await page.getByLabel('Token').fill(world.token);
    await page.unroute('**/api/v1/jobs/typed');
    await page.keyboard.press('Enter');
    await page.getByLabel('Token').waitFor({ state: 'detached' });
    assert.equal(await page.getByLabel('Name', { exact: true }).inputValue(), 'typed');
    await button(page, 'Create').click();
    await heading(page, 'typed');
  });
});

test('a session ends with its token, and who may only look is told so when he tries more', async () => {
  const { token } = await world.api('POST', '/tokens', { name: 'looker', role: 'read' });
  await world.api('PUT', '/jobs/looked-at', { command: ['true'] });
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(`${world.url}/jobs/looked-at#token=${token}`);
  await heading(page, 'looked-at');
  await page.locator('.who', { hasText: 'looker' }).waitFor();
  await page.locator('.dot.live').waitFor();
  await button(page, 'Pause').first().click();
  await page.locator('.messages .bad', { hasText: '`looker` has the role read' }).waitFor();
  assert.equal((await world.api('GET', '/jobs/looked-at')).paused, false);
  await world.api('POST', '/tokens/looker/revoke');
  await page.getByRole('alert').filter({ hasText: '`looker` was revoked' }).waitFor();
  await page.getByLabel('Token').fill(world.token);
  await page.getByLabel('Remember').check();
  await page.keyboard.press('Enter');
  await page.locator('.who', { hasText: 'admin.token' }).waitFor();
  await page.locator('.dot.live').waitFor();
  await button(page, 'Pause').first().click();
  await button(page, 'Resume').first().waitFor();
  const days = ((await context.cookies())[0].expires - Date.now() / 1000) / 86400;
  assert.equal(days > 29 && days < 31, true, `${days}`);
  await context.close();
});

test('a second click after an answer that was lost starts nothing twice', async () => {
  await world.api('PUT', '/jobs/once', { command: ['true'] });
  const lose = async route => {
    await route.fetch(); // it is done, and nobody hears of it
    await route.abort();
  };
  const runs = async () => (await world.api('GET', '/runs?job=once')).items.length;
  await in_page('/jobs/once', async page => {
    const again = async (name, path, count) => {
      await page.route(path, lose, { times: 1 });
      const lost = page.waitForEvent('requestfailed');
      await button(page, name).click();
      await lost;
      const before = page.url();
      await button(page, name).click();
      await page.waitForURL(url => url.href !== before);
      assert.equal(await runs(), count);
      await page.locator('.sum .state.green').waitFor();
    };
    await button(page, 'Run').click();
    const inside = await page.getByRole('dialog').getByRole('heading').boundingBox();
    await page.mouse.move(inside.x + 5, inside.y + 5); // text is selected, and let go beside the dialog
    await page.mouse.down();
    await page.mouse.move(5, 400);
    await page.mouse.up();
    await again('Run now', '**/api/v1/jobs/once/run', 1);
    await again('Retry', '**/retry', 2);
    const last = page.url();
    await button(page, 'Retry').click();
    await page.waitForURL(url => url.href !== last);
    assert.equal(await runs(), 3);
    page.errors = page.errors.filter(e => !e.includes('ERR_FAILED')); // the lost answers themselves
  });
});

test('a killed coordinator leaves a banner with the age of what is shown, and comes back', async () => {
  const own = await World.with_worker();
  try {
    const page = await open_page(browser, own);
    await shows(page, 'Nothing has run yet');
    await own.kill_server();
    const banner = page.getByRole('alert').filter({ hasText: 'Connection lost' });
    await banner.waitFor();
    await banner.getByText(/[1-9]\d* s/).waitFor(); // its age grows
    await shows(page, 'Overview'); // what was there stays
    await shows(page, 'w1');
    await own.start_server();
    await banner.waitFor({ state: 'detached' });
    const run = await own.api('POST', '/runs', { name: 'after-the-kill', command: ['true'] });
    await page.getByRole('link', { name: 'after-the-kill' }).first().waitFor();
    await own.ended(run.id);
    await page.context().close();
  } finally {
    own.close();
  }
});

test('a log is followed over a kill of the coordinator, with every line once', async () => {
  const own = await World.with_worker();
  try {
    const file = join(own.dir, 'go');
    const script = `seq 1 500; while [ ! -e ${file} ]; do sleep 0.02; done; seq 501 1000`;
    const run = await own.api('POST', '/runs', { name: 'counts', command: ['sh', '-c', script] });
    const page = await open_page(browser, own, `/runs/${run.id}`);
    await page.locator('.log[data-lines="500"]').waitFor();
    await own.kill_server();
    await page.getByRole('alert').filter({ hasText: 'Connection lost' }).waitFor();
    await own.start_server();
    writeFileSync(file, '');
    await page.locator('.sum .state.green').waitFor();
    await page.locator('.log[data-lines="1000"]').waitFor();
    await page.locator('.log .row', { hasText: '1000' }).last().waitFor();
    await page.context().close();
  } finally {
    own.close();
  }
});

test('script in descriptions, labels, tags, arguments and output is text', async () => {
  const evil = '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>';
  await world.start_worker('evil', '--label', `x=${evil}`);
  await world.api('PUT', '/jobs/evil', {
    description: evil,
    command: ['sh', '-c', `printf '%s\\n' "$0"; echo "$0" >&2`, evil],
    tags: { t: evil },
    env: { E: evil },
  });
  const run = await world.api('POST', '/jobs/evil/run', {});
  await world.ended(run.id);
  await in_page('/', async page => {
    const places = [
      `/runs/${run.id}`,
      '/runs',
      '/jobs',
      '/jobs/evil',
      '/jobs/evil/edit',
      '/workers',
      '/events',
      '/',
      `/runs?tag=${encodeURIComponent('t=' + evil)}`,
      `/jobs/${encodeURIComponent(evil.replaceAll('/', ''))}`,
    ];
    for (const path of places) {
      await page.goto(world.url + path);
      await page.locator('.dot.live').waitFor();
      await page.locator('h1').waitFor();
      await page.locator('[aria-busy]').first().waitFor({ state: 'detached' });
      if (path === places[0]) await page.locator('.log .row', { hasText: evil }).nth(1).waitFor();
      if (path === '/jobs' || path === '/jobs/evil') await shows(page, evil);
      assert.equal(await page.locator('#app img, #app script, #app iframe').count(), 0, path);
      assert.equal(await page.evaluate(() => window.pwned), undefined, path);
    }
  });
});

test('everything of the main path is done with the keyboard alone', async () => {
  await in_page('/', async page => {
    const focused = () =>
      page.evaluate(() => {
        const e = document.activeElement;
        const s = getComputedStyle(e);
        return {
          text: (e.getAttribute('aria-label') ?? e.textContent ?? '').trim(),
          tag: e.tagName,
          outline: s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) > 0,
        };
      });
    const tab_to = async wanted => {
      const seen = [];
      for (let i = 0; i < 80; ++i) {
        await page.keyboard.press('Tab');
        const at = await focused();
        if (at.tag !== 'BODY') assert.ok(at.outline, `${at.tag} "${at.text}" has the focus, and nothing shows it`);
        if (at.text === wanted) return;
        seen.push(at.text.slice(0, 20));
      }
      assert.fail(`Tab never came to "${wanted}": ${seen.join(' | ')}`);
    };
    await page.keyboard.press('Tab');
    assert.equal((await focused()).text, 'To the content');
    await page.keyboard.press('g');
    await page.keyboard.press('j');
    await heading(page, 'Jobs');
    await page.keyboard.press('n');
    await heading(page, 'New job');
    await page.keyboard.press('Tab');
    await page.keyboard.type('by-keys');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Tab');
    await page.keyboard.type('seq 1 300');
    await page.keyboard.press('Control+Enter');
    await heading(page, 'by-keys');
    await tab_to('Run');
    await page.keyboard.press('Enter');
    await page.getByRole('dialog').waitFor();
    await page.keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    assert.equal((await focused()).text, 'Run', 'the focus is back where it was');
    await page.keyboard.press('Enter');
    await tab_to('Run now');
    await page.keyboard.press('Enter');
    await page.locator('.log[data-lines="300"]').waitFor();
    await page.locator('.sum .state.green').waitFor();
    await tab_to('Output lines');
    await page.keyboard.press('/');
    await page.keyboard.type('29');
    await page.keyboard.press('Enter');
    await page.getByText('1/13').waitFor();
    await page.keyboard.press('Escape');
    await page.keyboard.press('n');
    await page.getByText('2/13').waitFor();
    await page.keyboard.press('Shift+N');
    await page.getByText('1/13').waitFor();
    await page.locator('.row.current', { hasText: '29' }).waitFor();
    await page.keyboard.press('?');
    await page.getByRole('dialog', { name: 'Keys' }).waitFor();
    await page.keyboard.press('Escape');
    await tab_to('Output lines');
    await page.keyboard.press('g');
    await page.keyboard.press('w'); // which alone would wrap the output
    await heading(page, 'Workers');
    await page.keyboard.press('g');
    await page.keyboard.press('r');
    await heading(page, 'Runs');
  });
});

test('axe finds nothing on any page, in dark and in light, and none is wider than 360 pixels', async () => {
  await world.api('PUT', '/jobs/daily', {
    builtin: 'noop',
    schedule: { daily: '02:30', time_zone: 'Europe/Berlin' },
  });
  await world.api('PUT', '/queues/slow', { concurrency: 1, rate: '10/m' });
  await world.api('POST', '/runs', { name: 'waits', command: ['true'], requires: { labels: { no: 'where' } } });
  const failed = await world.api('POST', '/runs', {
    name: 'colours',
    command: [
      'sh',
      '-c',
      `for i in 0 1 2 3 4 5 6 7; do printf '\\033[3%dmdark\\033[9%dmbright\\033[0m\\n' $i $i; done; exit 2`,
    ],
  });
  await world.ended(failed.id);
  const axe = readFileSync(AXE, 'utf8');
  const paths = [
    '/',
    '/runs',
    `/runs/${failed.id}`,
    '/runs/waits',
    '/jobs',
    '/jobs/daily',
    '/jobs/daily/edit',
    '/jobs:new',
    '/schedules',
    '/schedules/daily',
    '/workers',
    '/queues',
    '/events',
  ];
  for (const [colorScheme, width] of [
    ['dark', 1280],
    ['light', 1280],
    ['light', 360],
  ]) {
    await in_page(
      '/',
      async page => {
        for (const path of paths) {
          await page.goto(world.url + path);
          await page.locator('.dot.live').waitFor();
          await page.locator('[aria-busy]').first().waitFor({ state: 'detached' });
          const wider = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
          assert.ok(wider <= 0, `${path} is ${wider} px wider than ${width}`);
          if (width === 360) continue; // for axe it is the same page
          await page.evaluate(axe); // past the content policy, as a debugger
          // What is no matter of colours is the same in both.
          const runOnly = colorScheme === 'light' ? ['color-contrast', 'link-in-text-block'] : undefined;
          const options = { resultTypes: ['violations'], runOnly };
          const { violations } = await page.evaluate(o => window.axe.run(document, o), options);
          const told = violations.map(
            v => `${v.id}: ${v.nodes.map(n => `${n.html.slice(0, 160)} ${n.failureSummary}`).join('\n')}`,
          );
          assert.deepEqual(told, [], `${path} in ${colorScheme} at ${width}`);
        }
      },
      { colorScheme, viewport: { width, height: 800 } },
    );
  }
});

test('a log of 100,000 lines draws few rows, follows, stops on scrolling up, and finds a line', async () => {
  const run = await world.api('POST', '/runs', { name: 'long', command: ['seq', '1', '100000'] });
  await world.ended(run.id);
  await in_page(`/runs/${run.id}`, async page => {
    await page.locator('.log[data-lines="100000"]').waitFor();
    const log = page.locator('.log');
    await log.locator('.row', { hasText: /^100000100000$/ }).waitFor(); // number and text of the last line
    assert.ok((await log.locator('.row').count()) < 100);
    const follow = button(page, 'Follow');
    assert.equal(await follow.getAttribute('aria-pressed'), 'true');
    await log.hover();
    await page.mouse.wheel(0, -4000);
    await page.locator('button[aria-pressed=false]', { hasText: 'Follow' }).waitFor();
    await follow.click();
    await log.locator('.row', { hasText: /^100000100000$/ }).waitFor();
    await page.getByLabel('Search output').fill('7777');
    await page.getByLabel('Search output').press('Enter');
    await page.getByText('1/19', { exact: true }).waitFor(); // 7777, ten of 7777x, nine of x7777, one of which is both
    await log.locator('.row.current', { hasText: /^77777777$/ }).waitFor();
    await button(page, 'Wrap').click();
    await log.locator('.row', { hasText: /^7777/ }).first().waitFor();
    await page.goto(`${world.url}/runs/${run.id}#L50000`);
    await page.reload();
    await log.locator('.row.target', { hasText: /^5000050000$/ }).waitFor();
    const waiting = page.waitForEvent('download');
    await button(page, 'Download').click();
    const saved = readFileSync(await (await waiting).path(), 'utf8');
    assert.equal(saved.split('\n').length, 100_001);
  });
});

test('a line of a million characters is drawn in part, whole when wrapped, and hides nothing', async () => {
  const script =
    `head -c 1000000 /dev/zero | tr '\\0' x; printf '\\nturned \\342\\200\\256 around\\n'; ` +
    `printf '日\\t本%.0s' $(seq 200)`;
  const run = await world.api('POST', '/runs', {
    name: 'wide',
    command: ['bash', '-c', script],
    tags: { t: 'a\u200bb' },
  });
  await world.ended(run.id);
  await in_page(`/runs/${run.id}`, async page => {
    const log = page.locator('.log');
    await log.locator('.row', { hasText: '980,000 more characters' }).waitFor();
    assert.ok((await log.evaluate(e => e.textContent.length)) < 30_000);
    const wider = () => log.evaluate(e => e.scrollWidth - e.clientWidth);
    assert.ok((await wider()) > 100_000, 'a long line can be scrolled to its end');
    await log.locator('.row', { hasText: 'turned \\u202e around' }).waitFor();
    await page.getByText('t=a\\u200bb').first().waitFor();
    await page.getByLabel('Search output').fill('x'); // in a million places
    await page.getByText('–/1', { exact: true }).waitFor();
    assert.ok((await log.locator('mark').count()) <= 2_000);
    await page.getByLabel('Search output').fill('');
    await button(page, 'Wrap').click();
    await log.locator('.row', { hasText: /本$/ }).last().waitFor();
    assert.equal(await wider(), 0, 'no wrapped row is too wide');
    const text = await log.evaluate(e => e.textContent);
    assert.ok(text.includes('xxx') && !text.includes('more characters'));
  });
});

test('runs are filtered by the address, grow without moving, are retried and cancelled in bulk', async () => {
  const own = await World.with_worker();
  try {
    for (let i = 0; i < 120; ++i) await own.api('POST', '/runs', { name: `old-${i}`, hold: true, command: ['true'] });
    const failed = [];
    for (let i = 0; i < 3; ++i) failed.push(await own.api('POST', '/runs', { name: 'bad', command: ['false'] }));
    for (const run of failed) await own.ended(run.id);
    const page = await open_page(browser, own, '/runs');
    await page.locator('tbody tr').nth(99).waitFor();
    await page.evaluate(() => scrollTo(0, document.body.scrollHeight)); // the rest comes by itself
    await page.locator('tbody tr').nth(122).waitFor();
    await page.evaluate(() => scrollTo(0, 900));
    const place = await page.locator('tbody tr', { hasText: 'old-80' }).evaluate(e => e.getBoundingClientRect().top);
    await own.api('POST', '/runs', { name: 'newcomer', hold: true, command: ['true'] });
    const pill = button(page, '1 new');
    await pill.waitFor();
    assert.equal(await page.getByRole('link', { name: 'newcomer' }).count(), 0);
    assert.ok(
      Math.abs(
        (await page.locator('tbody tr', { hasText: 'old-80' }).evaluate(e => e.getBoundingClientRect().top)) - place,
      ) < 50,
    );
    await pill.click();
    await page.getByRole('link', { name: 'newcomer' }).waitFor();

    await page.getByLabel('Select all that have not ended').check();
    await page.getByLabel('Select all that have not ended').uncheck();
    const row = page.locator('tbody tr', { hasText: 'newcomer' });
    await row.getByRole('checkbox').check();
    await button(page, 'Cancel 1 selected').click();
    await button(page, 'Cancel them').click();
    await page.getByText('1 cancelled').waitFor();
    await row.locator('.state', { hasText: 'cancelled' }).waitFor();

    await page.getByRole('button', { name: 'failed', exact: true }).click();
    await page.waitForURL(/state=failed/);
    await page.getByLabel('Job', { exact: true }).fill('bad');
    await page.keyboard.press('Enter');
    await page.waitForURL(/job=bad/);
    await page.locator('tbody tr').nth(2).waitFor();
    assert.equal(await page.locator('tbody tr').count(), 3);
    await page.reload(); // the address is all there is to it
    await page.locator('tbody tr').nth(2).waitFor();
    await button(page, 'Retry all that match…').click();
    await page.getByRole('dialog').getByText('3 of 3').waitFor();
    await button(page, 'Retry 3').click();
    await page.getByText('3 new runs').waitFor();
    await page.locator('tbody tr').nth(5).waitFor(); // they fail, too
    await button(page, 'Retry all that match…').click();
    await page.getByText('3 were retried before').waitFor();
    assert.deepEqual(page.errors, []);
    await page.context().close();
  } finally {
    own.close();
  }
});

test('a schedule is backfilled, a queue limited, both are paused, a worker is drained, events are held', async () => {
  await world.api('PUT', '/jobs/hourly', { builtin: 'noop', schedule: { hourly: 0 } });
  await in_page('/schedules/hourly', async page => {
    await page.locator('.instants li').nth(9).waitFor();
    await button(page, 'Pause').click();
    await page.locator('.sum .state', { hasText: 'paused' }).waitFor();
    await button(page, 'Resume').click();
    await page.locator('.sum .state', { hasText: 'ready' }).waitFor();
    await button(page, 'Backfill…').click();
    await button(page, 'Look what would run').click();
    await page.getByText(/2[45] runs would be made/).waitFor();
    await page
      .getByRole('dialog')
      .getByRole('button', { name: /^Backfill 2/ })
      .click();
    await page.getByText(/2[45] runs were made/).waitFor();
    await page.getByRole('group', { name: 'Ledger' }).getByRole('row').nth(24).waitFor();

    await page.goto(world.url + '/queues');
    const queue = page.getByRole('row', { name: /^default/ });
    await queue.getByRole('button', { name: 'Limits' }).click();
    await page.getByLabel('Starts').fill('often');
    await button(page, 'Save').click();
    await page.locator('.field.wrong', { has: page.getByLabel('Starts') }).waitFor();
    await page.getByLabel('Starts').fill('600/m');
    await button(page, 'Save').click();
    await queue.getByText('600/1m').waitFor();
    await queue.getByRole('button', { name: 'Pause' }).click();
    await queue.getByText('paused').waitFor();
    await queue.getByRole('button', { name: 'Resume' }).click();
    await queue.getByText('ready').waitFor();

    await page.goto(world.url + '/workers');
    const worker = page.getByRole('row', { name: /^w1/ });
    await worker.getByRole('button', { name: 'Drain' }).click();
    await worker.getByText('draining').waitFor();
    await worker.getByRole('button', { name: 'Resume' }).click();
    await worker.getByText(/online|busy/).waitFor();

    await page.goto(world.url + '/events');
    await page.getByRole('cell', { name: 'worker.resumed' }).first().waitFor();
    await button(page, 'Hold').click();
    const run = await world.api('POST', '/runs', { name: 'seen', command: ['true'] });
    await world.ended(run.id);
    await page.getByRole('button', { name: /^Go on \([1-9]/ }).click();
    await page.getByText('job=seen').first().waitFor();
  });
});

test('a hidden tab reads no output, and goes on where it was when it is seen', async () => {
  const file = join(world.dir, 'go-hidden');
  const script = `printf 'a\\377\\n'; seq 2 50; while [ ! -e ${file} ]; do sleep 0.02; done; seq 51 100`;
  const run = await world.api('POST', '/runs', { name: 'hidden', command: ['sh', '-c', script] });
  await in_page('/', async page => {
    await page.addInitScript(() =>
      Object.defineProperty(document, 'hidden', { get: () => window.is_hidden === true }),
    );
    const seen = is =>
      page.evaluate(value => {
        window.is_hidden = !value;
        document.dispatchEvent(new Event('visibilitychange'));
      }, is);
    await page.goto(`${world.url}/runs/${run.id}`);
    await page.locator('.log[data-lines="50"]').waitFor();
    const cut = page.waitForEvent('requestfailed', request => request.url().includes('/logs?'));
    await seen(false);
    await cut;
    writeFileSync(file, '');
    await world.ended(run.id);
    assert.equal(await page.locator('.log').getAttribute('data-lines'), '50');
    await seen(true);
    await page.locator('.log[data-lines="100"]').waitFor();
    await page.locator('.log .row', { hasText: /^100100$/ }).waitFor();
  });
});

test('a tab that nobody sees holds no connection, and eight that are open all load', async () => {
  const context = await browser.newContext();
  const pages = [];
  for (let i = 0; i < 8; ++i) {
    const page = await context.newPage();
    // Chromium without a screen takes every tab for a visible one; what a hidden one sees is set by hand.
    await page.addInitScript(() =>
      Object.defineProperty(document, 'hidden', { get: () => window.is_hidden === true }),
    );
    await page.goto(`${world.url}/#token=${world.token}`);
    await page.locator('.dot.live').waitFor();
    pages.push(page);
    await page.evaluate(() => {
      window.is_hidden = true;
      document.dispatchEvent(new Event('visibilitychange'));
    });
  }
  await pages[0].evaluate(() => {
    window.is_hidden = false;
    document.dispatchEvent(new Event('visibilitychange'));
  });
  await world.api('POST', '/runs', { name: 'seen-again', hold: true, command: ['true'] });
  await pages[0].getByRole('link', { name: 'seen-again' }).first().waitFor();
  await context.close();
});
