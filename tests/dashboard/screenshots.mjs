// The pictures of the README, from a demo that it seeds: node tests/dashboard/screenshots.mjs [DIRECTORY]. Needs what
// tests/dashboard/run needs; run that once before.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT, World, launch, open_page } from './world.mjs';

const out = process.argv[2] ?? join(ROOT, 'src/dashboard/docs');
mkdirSync(out, { recursive: true });

const sh = script => ['sh', '-c', script];

/// A small company's night: most of it went well.
async function seed(world) {
  await world.start_worker('athena', '--label', 'os=linux', '--label', 'zone=eu');
  await world.start_worker('hermes', '--label', 'os=linux', '--label', 'gpu=yes');
  const go = join(world.dir, 'go');
  const wait = `while [ ! -e ${go} ]; do sleep 0.2; done`;
  const jobs = [
    { name: 'nightly-report', command: sh('echo report'), schedule: { daily: '02:30', time_zone: 'Asia/Hong_Kong' } },
    {
      name: 'backup',
      command: sh('echo saved'),
      schedule: { cron: '15 */6 * * *', time_zone: 'Europe/Berlin' },
      tags: { team: 'ops' },
    },
    {
      name: 'sync-orders',
      command: sh(`echo syncing; ${wait}`),
      timeout: '20m',
      queue: 'etl',
      tags: { team: 'shop' },
    },
    {
      name: 'train-model',
      command: sh(`echo epoch 1; ${wait}`),
      timeout: '2h',
      requires: { labels: { gpu: 'yes' } },
    },
    {
      name: 'import-prices',
      command: sh('echo "no such column: price" >&2; exit 3'),
      schedule: { every: '45m' },
      queue: 'etl',
    },
    { name: 'thumbnails', command: sh('echo done'), schedule: { hourly: 5 }, tags: { team: 'shop' } },
    { name: 'invoices', command: sh('exit 1'), schedule: { monthly: '1@06:00', time_zone: 'Europe/Berlin' } },
    { name: 'crawl', command: sh('true'), requires: { labels: { zone: 'us' } }, schedule: { weekly: 'mon@04:00' } },
  ];
  for (const { name, ...definition } of jobs) await world.api('PUT', `/jobs/${name}`, definition);
  await world.api('PUT', '/queues/etl', { concurrency: 3, rate: '600/m' });
  const start = name => world.api('POST', `/jobs/${name}/run`, {});
  const past = [
    'backup',
    'thumbnails',
    'import-prices',
    'nightly-report',
    'thumbnails',
    'invoices',
    'thumbnails',
    'import-prices',
    'backup',
    'import-prices',
    'thumbnails',
    'nightly-report',
    'backup',
    'thumbnails',
  ];
  for (const name of past) await world.ended((await start(name)).id);
  await start('crawl');
  await start('train-model');
  await start('sync-orders');
  await start('sync-orders');
  const build = await world.api('POST', '/runs', {
    name: 'build',
    tags: { branch: 'main' },
    command: sh(`
      for i in $(seq 18); do
        printf '\\033[32m✓\\033[0m compiled module %d in \\033[36m%d ms\\033[0m\\n' $i $((i * 37 % 90 + 10))
      done
      printf '\\033[1;33mwarning:\\033[0m unused variable \\033[1mresult\\033[0m\\n' >&2
      printf 'linking  10%%\\rlinking  60%%\\rlinking 100%%\\n'
      printf '\\033[1;31merror:\\033[0m undefined symbol: orders_total\\n' >&2
      exit 2`),
  });
  await world.ended(build.id);
  return go;
}

const world = new World();
const browser = await launch();
try {
  await world.start_server();
  const go = await seed(world);
  for (const colorScheme of ['dark', 'light']) {
    const page = await open_page(browser, world, '/', { colorScheme, viewport: { width: 1200, height: 780 } });
    const take = async (name, path, ready) => {
      await page.goto(world.url + path);
      await page.locator('.dot.live').waitFor();
      await page.locator(ready).first().waitFor();
      await page.locator('[aria-busy]').first().waitFor({ state: 'detached' });
      await page.screenshot({ path: join(out, `${name}-${colorScheme}.png`) });
    };
    await take('overview', '/', '.tile');
    await page.context().close();
  }
  writeFileSync(go, '');
} finally {
  await browser.close();
  world.close();
}
