// dev: a coordinator and workers on this machine, to try the product out; with --apply it runs the job files
// and shows what became of them.
#include <atomic>
#include <condition_variable>
#include <csignal>
#include <filesystem>
#include <memory>
#include <mutex>

#include <fmt/format.h>
#include <unistd.h>
#include <CLI/CLI.hpp>

#include <orchestrator/cli/job_file.hpp>
#include <orchestrator/net/local_servers.hpp>
#include <orchestrator/protocol/definitions.hpp>

#include "children.hpp"
#include "commands.hpp"
#include "run_table.hpp"
#include "waiting.hpp"

namespace orchestrator::cli {
namespace fs = std::filesystem;
namespace {

constexpr auto start_patience = std::chrono::seconds{60};

struct dev_flags {
  int workers = 1;
  int slots = 4;
  std::string apply, listen = "127.0.0.1:8000", data_dir;
  bool once = false;
};

/// Where the stack keeps its data: the given directory, or one that is removed at the end.
class data_place {
 public:
  explicit data_place(const std::string& given) : dir_(given), temporary_(given.empty()) {
    std::error_code ec;
    if (!temporary_) {
      fs::create_directories(dir_, ec);
      if (ec)
        throw failure{exit_refused, fmt::format("cannot make the directory {}: {}", given, ec.message()), ""};
      return;
    }
    std::string pattern = (fs::temp_directory_path(ec) / "orchestrator-dev-XXXXXX").string();
    if (ec || ::mkdtemp(pattern.data()) == nullptr) {
      throw failure{exit_refused,
                    "cannot make a temporary directory; set TMPDIR to one that can be written, or give "
                    "--data-dir",
                    ""};
    }
    dir_ = pattern;
  }
  ~data_place() { remove(); }
  void remove() {
    if (!temporary_) return;
    net::forget_server(dir_ / "server");
    std::error_code ec;
    fs::remove_all(dir_, ec);
  }
  const fs::path& dir() const { return dir_; }

 private:
  fs::path dir_;
  bool temporary_;
};

/// The coordinator's address, as soon as its log tells it.
class address_watch {
 public:
  void line(const std::string& text) {
    const std::size_t at = text.find("listening on http://");
    if (at == std::string::npos) return;
    const std::lock_guard lock(mutex_);
    url_ = text.substr(at + 13);
    changed_.notify_all();
  }
  std::string wait(children& stack) {
    std::unique_lock lock(mutex_);
    const auto until = std::chrono::steady_clock::now() + start_patience;
    while (url_.empty()) {
      changed_.wait_for(lock, std::chrono::milliseconds{50});
      const std::string ended = stack.first_ended();
      if (!ended.empty() && url_.empty()) {
        throw failure{
            exit_refused,
            fmt::format("{}; its log above says why (--listen 127.0.0.1:0 picks a free port)", ended), ""};
      }
      if (std::chrono::steady_clock::now() > until)
        throw failure{exit_unreachable, "the coordinator did not start", ""};
    }
    return url_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string url_;
};

/// Exactly one thread ends the process: the main one when it is done, or the one that waits for signals.
class ending {
 public:
  /// False if the other thread has begun: then it ends the process, and the caller has nothing to do any
  /// more.
  bool begin() { return !begun_.exchange(true); }

 private:
  std::atomic<bool> begun_{false};
};

[[noreturn]] void leave_it_to_the_other() {
  while (true) ::pause();
}

/// Blocks them in this thread and all it starts, so that only the one that waits takes them.
sigset_t block_signals() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) ::sigaddset(&set, signal);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  return set;
}

/// Ends everything on Ctrl-C or TERM, wherever the main thread is.
void end_on_signal(sigset_t set, children& stack, data_place& place, ending& end) {
  std::thread([set, &stack, &place, &end] {
    int signal = 0;
    ::sigwait(&set, &signal);
    if (!end.begin()) leave_it_to_the_other();
    tell("\nStopping; Ctrl-C again does not wait for the jobs");
    stack.end_all();
    place.remove();
    ::_exit(exit_ok);
  }).detach();
}

void wait_for_workers(session& s, int count) {
  const auto until = std::chrono::steady_clock::now() + start_patience;
  while (std::chrono::steady_clock::now() < until) {
    const auto answer = s.api->get("/api/v1/status");
    const json::value* online = answer.body.at("workers").as_object().if_contains("online");
    if (online != nullptr && online->to_number<int>() >= count) return;
    std::this_thread::sleep_for(std::chrono::milliseconds{20});
  }
  throw failure{exit_unreachable, "the workers did not register", ""};
}

/// Starts every job that has no schedule of its own, shows its output as it comes, and at the end all
/// results.
void run_jobs(session& s, const loaded_files& files) {
  apply_files(s, files, false);
  std::vector<std::string> ids;
  std::string scheduled;
  for (const loaded_job& j : files.jobs) {
    if (j.definition.schedule && j.definition.schedule->kind != schedule_kind::manual) {
      const auto next =
          s.api->get(fmt::format("/api/v1/schedules/{}/next?count=1", url_encode(j.definition.name)));
      scheduled += fmt::format(
          "{}: {}, next {}\n", j.definition.name, protocol::describe(*j.definition.schedule),
          next.body.as_array().empty() ? "never"
                                       : text_of(next.body.as_array().front().as_object(), "instant"));
      continue;
    }
    const auto run = s.api->call("POST", fmt::format("/api/v1/jobs/{}/run", url_encode(j.definition.name)),
                                 json::object{});
    ids.push_back(text_of(run.body.as_object(), "id"));
    write_stdout(
        fmt::format("--- {} started as run {}\n", j.definition.name, short_id(run.body.as_object())));
  }
  json::array finals;
  for (const std::string& id : ids) {
    const auto run = s.api->get("/api/v1/runs/" + url_encode(id));
    write_stdout(fmt::format("--- output of {}\n", text_of(run.body.as_object(), "job")));
    log_options logs;
    logs.follow = true;
    print_logs(s, id, logs);
    const auto done = wait_for_runs(s, {id}, steady_time::max());
    finals.push_back(done->front());
  }
  write_stdout("--- results\n");
  s.out.list(finals, run_list_columns(), "id");
  if (!scheduled.empty()) write_stdout("--- scheduled\n" + scheduled);
}

/// Starts the stack, runs the jobs, and stays until something ends by itself, unless it was to be once.
void run_stack(session& s, const dev_flags& f, const loaded_files& files, const fs::path& dir,
               children& stack) {
  address_watch address;
  stack.start("server", {"--role=server", "--listen=" + f.listen, "--data-dir=" + (dir / "server").string()},
              [&address](const std::string& line) { address.line(line); });
  const std::string url = address.wait(stack);
  write_stdout(fmt::format("Orchestrator is at {}\n", url));
  for (int i = 1; i <= f.workers; ++i) {
    stack.start(fmt::format("worker-{}", i),
                {"--role=worker", "--server=" + url, fmt::format("--worker-id=dev-{}", i),
                 "--work-dir=" + (dir / fmt::format("worker-{}", i)).string(),
                 "--token-file=" + (dir / "server/worker.token").string(), fmt::format("--slots={}", f.slots),
                 "--on-stop=kill"});
  }
  settings values = s.values;
  values.values["server"] = {{url}, "dev"};
  values.values["token-file"] = {{(dir / "server/admin.token").string()}, "dev"};
  session inner{values, s.out, std::make_unique<api_client>(values)};
  wait_for_workers(inner, f.workers);
  if (!files.jobs.empty() || !files.calendars.empty()) run_jobs(inner, files);
  if (f.once) return;
  // Behind the # an address stays in the browser, and reaches no server. What is not a terminal may be kept.
  const bool shown = ::isatty(STDOUT_FILENO) == 1;
  write_stdout(fmt::format("Dashboard: {}/{}\n", url,
                           shown ? "#token=" + net::first_line(dir / "server/admin.token") : ""));
  write_stdout(fmt::format(
      "Running at {} until Ctrl-C. Try: orchestrator submit --server {} --follow -- echo hello\n", url, url));
  while (true) {
    std::this_thread::sleep_for(std::chrono::milliseconds{200});
    const std::string ended = stack.first_ended();
    if (!ended.empty()) throw failure{exit_refused, ended, ""};
  }
}

int dev(session& s, const dev_flags& f, const schedule_check& check) {
  loaded_files files;
  if (!f.apply.empty()) files = load_checked_files(f.apply, check);
  const sigset_t set = block_signals();  // before any thread
  data_place place(f.data_dir);
  children stack;
  ending end;
  end_on_signal(set, stack, place, end);
  std::optional<failure> failed;
  try {
    run_stack(s, f, files, place.dir(), stack);
  } catch (const failure& why) {
    failed = why;
  }
  // A call that failed because the coordinator is being stopped is no news.
  if (!end.begin()) leave_it_to_the_other();
  stack.end_all();
  if (failed) throw *failed;
  return exit_ok;
}

}  // namespace

void add_dev_command(CLI::App& root, selection& chosen) {
  auto f = std::make_shared<dev_flags>();
  CLI::App* verb = add_verb(root, "dev", "a coordinator and workers on this machine, until Ctrl-C");
  verb->add_option("--workers", f->workers, "how many; default 1")->check(CLI::Range(0, 64))->type_name("N");
  verb->add_option("--slots", f->slots, "of each worker; default 4")
      ->check(CLI::Range(1, 1000))
      ->type_name("N");
  verb->add_option("--apply", f->apply, "job file or directory of job files: apply them and run each")
      ->type_name("PATH");
  verb->add_option("--listen", f->listen, "address to serve on; default 127.0.0.1:8000, port 0 picks one")
      ->type_name("HOST:PORT");
  verb->add_option("--data-dir", f->data_dir,
                   "keep data here; default a directory that is removed at the end")
      ->type_name("DIR");
  verb->add_flag("--once", f->once, "end when the job files' runs have ended");
  verb->callback([f, &chosen] {
    chosen.offline = true;
    chosen.action = [f, &chosen](session& s) { return dev(s, *f, chosen.check); };
  });
}

}  // namespace orchestrator::cli
