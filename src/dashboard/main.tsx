// Where the dashboard begins: the frame around the pages, the login, the state of the connection, and the keys.
import { render } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { clock_ahead, find_session, log_in, log_out, me, take_address, token_wanted } from './api';
import { Events } from './events';
import { EditJob, NewJob } from './job_form';
import { Job, Jobs } from './jobs';
import { connection, now, start_live } from './live';
import { Overview } from './overview';
import { Queues } from './queues';
import { match } from './match';
import { ask_first, go, leave, leaving, place, start_router } from './router';
import { Run } from './run';
import { Runs } from './runs';
import { Schedule, Schedules } from './schedules';
import { coarse } from './time';
import { Confirm, Dialog, Field, Messages, Page, theme, value_of, zone } from './ui';
import { Workers } from './workers';

const menu: { name: string; path: string; key: string }[] = [
  { name: 'Overview', path: '/', key: 'o' },
  { name: 'Runs', path: '/runs', key: 'r' },
  { name: 'Jobs', path: '/jobs', key: 'j' },
  { name: 'Schedules', path: '/schedules', key: 's' },
  { name: 'Workers', path: '/workers', key: 'w' },
  { name: 'Queues', path: '/queues', key: 'q' },
  { name: 'Events', path: '/events', key: 'e' },
];

function Here() {
  const { path } = place.value;
  const one = (pattern: string) => match(pattern, path)?.[0];
  if (path === '/') return <Overview />;
  if (path === '/runs') return <Runs />;
  if (path === '/jobs') return <Jobs />;
  if (path === '/jobs:new') return <NewJob />;
  if (path === '/schedules') return <Schedules />;
  if (path === '/workers') return <Workers />;
  if (path === '/queues') return <Queues />;
  if (path === '/events') return <Events />;
  const run = one('/runs/{id}');
  if (run) return <Run id={run} key={run} />;
  const job = one('/jobs/{name}');
  if (job) return <Job name={job} key={job} />;
  const edited = one('/jobs/{name}/edit');
  if (edited) return <EditJob name={edited} key={edited} />;
  const schedule = one('/schedules/{job}');
  if (schedule) return <Schedule job={schedule} key={schedule} />;
  return (
    <Page title="No such page">
      <p class="empty">
        There is nothing at <code>{path}</code>. <a href="/">Overview</a>
      </p>
    </Page>
  );
}

function title_of(path: string): string {
  const at = menu.find(
    m => m.path !== '/' && (path === m.path || path.startsWith(m.path + '/') || path.startsWith(m.path + ':')),
  );
  const rest = at ? decodeURIComponent(path.slice(at.path.length + 1)) : '';
  return `${rest ? rest + ' · ' : ''}${at?.name ?? 'Overview'} · Orchestrator`;
}

/// Above the page, which stays as it is with what was typed there.
function Login({ said }: { said: string }) {
  const [given, set_given] = useState('');
  const [remember, set_remember] = useState(false);
  const [refused, set_refused] = useState('');
  return (
    <Dialog title="Orchestrator" kind="login">
      <form
        onSubmit={e => {
          e.preventDefault();
          if (given.trim() !== '') void log_in(given.trim(), remember).then(set_refused);
        }}>
        <p>
          This coordinator wants a token: one that <code>orchestrator token create</code> made for you, or the content
          of the file <code>admin.token</code> in the coordinator's data directory, by default{' '}
          <code>~/.local/state/orchestrator/server/admin.token</code>. <code>orchestrator dev</code> prints an address
          that has it.
        </p>
        <Field label="Token" error={refused || said} wide>
          {p => (
            <input
              {...p}
              type="password"
              autocomplete="off"
              autofocus
              value={given}
              onInput={e => {
                set_given(value_of(e));
                set_refused('');
              }}
            />
          )}
        </Field>
        <label>
          <input type="checkbox" checked={remember} onChange={e => set_remember(e.currentTarget.checked)} /> Remember me
          for 30 days; otherwise until the browser is closed or nothing was done for 12 hours
        </label>
        <div class="buttons">
          <button class="main">Enter</button>
        </div>
      </form>
    </Dialog>
  );
}

/// Said only when it is so: what is on the screen is as old as this says.
function Lost() {
  const { state, heard } = connection.value;
  const age = (now.value - clock_ahead.peek() - heard) / 1000;
  return (
    <div role="alert">
      {state === 'lost' && (
        <p class="banner bad lost">
          <strong>Connection lost.</strong> What you see is{' '}
          <span aria-hidden="true">{coarse(Math.max(0, age))} </span>old. Trying to reach the coordinator again…
        </p>
      )}
    </div>
  );
}

function Keys({ close }: { close: () => void }) {
  return (
    <Dialog title="Keys" close={close}>
      <table class="keys">
        <tbody>
          {menu.map(m => (
            <tr key={m.key}>
              <td>
                <kbd>g</kbd> <kbd>{m.key}</kbd>
              </td>
              <td>{m.name}</td>
            </tr>
          ))}
          <tr>
            <td>
              <kbd>n</kbd>
            </td>
            <td>New job, on the page of jobs</td>
          </tr>
          <tr>
            <td>
              <kbd>/</kbd>
            </td>
            <td>Search or filter what is shown</td>
          </tr>
          <tr>
            <td>
              <kbd>?</kbd>
            </td>
            <td>These keys</td>
          </tr>
        </tbody>
      </table>
      <div class="buttons">
        <button type="button" class="main" onClick={close}>
          Close
        </button>
      </div>
    </Dialog>
  );
}

function use_keys(help: () => void): void {
  useEffect(() => {
    let after_g = 0;
    const is_ours = (e: KeyboardEvent) =>
      !e.ctrlKey &&
      !e.metaKey &&
      !e.altKey &&
      !e.defaultPrevented &&
      !(e.target as HTMLElement).closest('input, textarea, select, dialog');
    // What follows a g is a page's letter, before the output takes it for one of its own.
    const pressed_first = (e: KeyboardEvent) => {
      if (!is_ours(e)) return;
      const chosen = Date.now() - after_g < 1500 ? menu.find(m => m.key === e.key) : undefined;
      after_g = e.key === 'g' ? Date.now() : 0;
      if (!chosen) return;
      go(chosen.path);
      e.preventDefault();
      e.stopPropagation();
    };
    const pressed = (e: KeyboardEvent) => {
      if (!is_ours(e)) return;
      if (e.key === '?') help();
      else if (e.key === 'n' && place.value.path === '/jobs') go('/jobs:new');
      else if (e.key === '/') {
        const field = document.querySelector<HTMLElement>('[data-search], input[type=search]');
        if (!field) return;
        field.focus();
      } else return;
      e.preventDefault();
    };
    addEventListener('keydown', pressed_first, true);
    addEventListener('keydown', pressed);
    return () => {
      removeEventListener('keydown', pressed_first, true);
      removeEventListener('keydown', pressed);
    };
  }, []);
}

function Frame() {
  const [help, set_help] = useState(false);
  use_keys(() => set_help(true));
  const { path } = place.value;
  useEffect(() => {
    document.title = title_of(path);
  }, [path]);
  const { state } = connection.value;
  const current = (m: { path: string }) =>
    path === m.path || (m.path !== '/' && (path.startsWith(m.path + '/') || path.startsWith(m.path + ':')));
  const connection_word = { live: 'live', lost: 'connection lost', connecting: 'connecting' }[state];
  return (
    <>
      <a
        class="skip"
        href="#content"
        onClick={e => {
          e.preventDefault();
          document.querySelector<HTMLElement>('h1')?.focus();
        }}>
        To the content
      </a>
      <header class="top">
        <a class="brand" href="/">
          <span class="logo" aria-hidden="true" />
          Orchestrator
        </a>
        <nav aria-label="Pages">
          {menu.map(m => (
            <a key={m.path} href={m.path} aria-current={current(m) ? 'page' : undefined}>
              {m.name}
            </a>
          ))}
        </nav>
        <div class="settings">
          <span class={`dot ${state}`}>{connection_word}</span>
          <select aria-label="Times" value={zone.value} onChange={e => (zone.value = value_of(e))}>
            <option value="local">local time</option>
            <option value="utc">UTC</option>
          </select>
          <select aria-label="Colours" value={theme.value} onChange={e => (theme.value = value_of(e))}>
            <option value="auto">auto</option>
            <option value="light">light</option>
            <option value="dark">dark</option>
          </select>
          <button type="button" class="small" aria-label="Keys" onClick={() => set_help(true)}>
            ?
          </button>
          {me.value?.csrf && (
            <>
              <span class="who" title={`role ${me.value.role}`}>
                {me.value.name}
              </span>
              <button type="button" class="small" onClick={() => ask_first(() => void log_out())}>
                Leave
              </button>
            </>
          )}
        </div>
      </header>
      <Lost />
      <main id="content">
        {/* Nothing is left on the screen of who left. */}
        {(token_wanted.value === null || me.value !== null) && <Here />}
      </main>
      <Messages />
      {token_wanted.value !== null && <Login said={token_wanted.value} />}
      {help && <Keys close={() => set_help(false)} />}
      {leaving.value !== null && (
        <Confirm
          title="Leave without saving?"
          yes="Leave it"
          close={() => (leaving.value = null)}
          run={async () => leave()}>
          <p>What you typed here is not saved and would be lost.</p>
        </Confirm>
      )}
    </>
  );
}

async function start(): Promise<void> {
  await find_session();
  addEventListener('hashchange', () => void take_address()); // an address with a token, in a tab that is open
  start_router();
  start_live();
  render(<Frame />, document.getElementById('app')!);
}
void start();
