// What the dashboard's tests share: a coordinator and workers of their own on free ports and in directories of their
// own, the API as the tests ask it, and a browser. The environment comes from tests/dashboard/run.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
export const MODULES = process.env.DASHBOARD_MODULES ?? join(ROOT, 'build/dashboard-tests');
const PROGRAM = process.env.ORCHESTRATOR_BIN ?? join(ROOT, 'build/release/orchestrator');
const LIMIT = 30_000; // only a hang reaches it

export class World {
  constructor() {
    this.dir = mkdtempSync(join(tmpdir(), 'orc-dashboard-'));
    mkdirSync(join(this.dir, 'home'));
    this.children = [];
    this.port = 0;
  }

  /// Starts the program and waits for a line of its log.
  async start(args, line) {
    const env = {
      PATH: process.env.PATH,
      HOME: join(this.dir, 'home'),
      LANG: 'C.UTF-8',
      XDG_STATE_HOME: join(this.dir, 'state'),
      XDG_CONFIG_HOME: join(this.dir, 'config'),
    };
    const child = spawn(PROGRAM, args, { cwd: ROOT, env, stdio: ['ignore', 'ignore', 'pipe'] });
    this.children.push(child);
    child.text = '';
    const found = await new Promise((done, failed) => {
      const timer = setTimeout(() => failed(new Error(`no ${line} within ${LIMIT} ms:\n${child.text}`)), LIMIT);
      child.stderr.on('data', data => {
        child.text += data;
        const at = line.exec(child.text);
        if (at) {
          clearTimeout(timer);
          done(at);
        }
      });
      child.on('exit', code => {
        clearTimeout(timer);
        failed(new Error(`it ended with ${code}:\n${child.text}`));
      });
    });
    return { child, found };
  }

  async start_server() {
    const args = ['--role=server', '--listen', `127.0.0.1:${this.port}`, '--data-dir', join(this.dir, 'data')];
    const { child, found } = await this.start(args, /listening on http:\/\/127\.0\.0\.1:(\d+)/);
    this.port = Number(found[1]);
    this.url = `http://127.0.0.1:${this.port}`;
    this.server = child;
    this.token = readFileSync(join(this.dir, 'data/admin.token'), 'utf8').trim();
  }

  async start_worker(name = 'w1', ...flags) {
    await this.start(
      [
        '--role=worker',
        '--server',
        `127.0.0.1:${this.port}`,
        '--worker-id',
        name,
        '--slots',
        '4',
        '--work-dir',
        join(this.dir, name),
        ...flags,
      ],
      /Connected to ws:/,
    );
  }

  static async with_worker() {
    const world = new World();
    await world.start_server();
    await world.start_worker();
    return world;
  }

  async kill_server() {
    const gone = new Promise(done => this.server.on('exit', done));
    this.server.kill('SIGKILL');
    await gone;
  }

  async api(method, path, body) {
    const answer = await fetch(this.url + '/api/v1' + path, {
      method,
      body: body && JSON.stringify(body),
      headers: { Authorization: `Bearer ${this.token}`, 'Content-Type': 'application/json' },
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return JSON.parse(text);
  }

  async ended(id) {
    for (;;) {
      const run = await this.api('GET', `/runs/${id}?wait=10`);
      if (run.finished_at) return run;
    }
  }

  close() {
    for (const child of this.children.reverse()) child.kill('SIGKILL');
    // Supervisors outlive their daemons on purpose: those of this world are found by its directory.
    for (const pid of readdirSync('/proc').filter(name => /^\d+$/.test(name) && Number(name) !== process.pid)) {
      try {
        if (readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(this.dir)) process.kill(Number(pid), 'SIGKILL');
        else if (readFileSync(`/proc/${pid}/environ`, 'latin1').includes(this.dir))
          process.kill(Number(pid), 'SIGKILL');
      } catch {
        // It ended, or is somebody else's.
      }
    }
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  }
}

export const CHROMIUM = [
  process.env.CHROMIUM,
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
].find(path => path && existsSync(path));

export async function launch() {
  const { chromium } = createRequire(`${MODULES}/package.json`)('playwright-core');
  return chromium.launch({
    executablePath: CHROMIUM,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}

export const AXE = join(MODULES, 'node_modules/axe-core/axe.min.js');

/// A page of its own in a window of its own. `errors` collects what the browser complains about.
export async function open_page(browser, world, path = '/', options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  context.setDefaultTimeout(LIMIT);
  const page = await context.newPage();
  page.errors = [];
  page.on('pageerror', e => page.errors.push(e.stack));
  // The browser also reports answers such as 400 and lost connections; those of the API are what some tests are about.
  const is_api = m => m.location().url.includes('/api/');
  page.on('console', m => m.type() === 'error' && !is_api(m) && page.errors.push(m.text()));
  page.questions = 0; // whether to leave what is not saved
  page.on('dialog', d => {
    if (d.type() === 'beforeunload') ++page.questions;
    else page.errors.push(`a dialog: ${d.message()}`);
    void d.accept();
  });
  await page.goto(`${world.url}${path}#token=${world.token}`);
  await page.locator('.dot.live').waitFor();
  return page;
}
