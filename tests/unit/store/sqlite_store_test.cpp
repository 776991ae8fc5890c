// What only the SQLite store has to show: its directory, its refusals, crashes, full disks, and threads.
#include <atomic>
#include <csignal>
#include <fstream>
#include <memory>
#include <thread>

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <doctest/doctest.h>

#include <orchestrator/base/random.hpp>

#include "open.hpp"
#include "schema.hpp"
#include "support/store_support.hpp"

using namespace orchestrator;
using namespace orchestrator::store;
using namespace orchestrator::store::testing;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

namespace {

std::string bytes_of(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write_file(const fs::path& file, const std::string& bytes) {
  std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes;
}

/// The exit code with which a directory is refused, 0 if it is opened.
int refusal_of(const fs::path& dir, std::string* message = nullptr) {
  auto opened = open_sqlite_store(dir, day_zero, {});
  if (opened) return 0;
  if (message != nullptr) *message = opened.error().message;
  return opened.error().exit_code;
}

/// A closed store with `runs` runs, one for each batch.
void fill(const fs::path& dir, std::uint64_t runs) {
  progress_monitor monitor;
  auto opened = open_sqlite_store(dir, day_zero, monitor.events());
  REQUIRE(opened.has_value());
  std::uint64_t number = opened->snapshot.last_number;
  for (std::uint64_t n = 0; n < runs; ++n) {
    ++number;
    opened->store_ptr->commit({number, {put_run{sample_run(number)}, put_fact{sample_fact(number)}}});
  }
  REQUIRE(monitor.wait_persisted(number));
}

/// Runs `body` in a child process and returns its wait status; what it wrote to stderr goes to `errors`.
template <class Body>
int in_child(Body body, std::string& errors) {
  int pipe_ends[2];
  REQUIRE(::pipe(pipe_ends) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGABRT, SIG_DFL);  // a failed check is expected here and no crash of the test program
    ::dup2(pipe_ends[1], 2);
    ::close(pipe_ends[0]);
    ::close(pipe_ends[1]);
    body();
    ::_exit(0);
  }
  ::close(pipe_ends[1]);
  char buffer[4096];
  for (ssize_t got = 0; (got = ::read(pipe_ends[0], buffer, sizeof buffer)) > 0;)
    errors.append(buffer, static_cast<std::size_t>(got));
  ::close(pipe_ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  return status;
}

/// In a child: opens `dir` and commits `batches`; comes back only if all of them were persisted.
void commit_all(const fs::path& dir, const std::vector<std::vector<mutation>>& batches) {
  progress_monitor monitor;
  auto opened = open_sqlite_store(dir, day_zero, monitor.events());
  if (!opened) ::_exit(opened.error().exit_code);
  std::uint64_t number = opened->snapshot.last_number;
  for (const auto& mutations : batches) {
    opened->store_ptr->commit({++number, mutations});
    if (!monitor.wait_persisted(number)) ::_exit(3);
  }
}

}  // namespace

TEST_CASE("a new data directory is private, and so is every file in it") {
  const temporary_directory base;
  const fs::path dir = base.path() / "not" / "yet";
  auto opened = open_sqlite_store(dir, day_zero, {});
  REQUIRE(opened.has_value());
  struct ::stat status{};
  REQUIRE(::stat(dir.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0700);
  int files = 0;
  for (const auto& entry : fs::directory_iterator(dir)) {
    REQUIRE(::stat(entry.path().c_str(), &status) == 0);
    CAPTURE(entry.path().string());
    CHECK((status.st_mode & 0777) == 0600);
    ++files;
  }
  CHECK(files >= 3);
  CHECK(opened->snapshot.term == 1);
}

TEST_CASE("a directory in use is refused with the process that uses it") {
  const temporary_directory base;
  auto opened = open_sqlite_store(base.path() / "data", day_zero, {});
  REQUIRE(opened.has_value());
  std::string message;
  CHECK(refusal_of(base.path() / "data", &message) == 75);
  CHECK(message.find("process " + std::to_string(::getpid())) != std::string::npos);
  opened->store_ptr.reset();
  CHECK(refusal_of(base.path() / "data") == 0);
}

TEST_CASE("a coordinator whose term is over commits nothing, even if the lock did not hold") {
  const temporary_directory base;
  std::string errors;
  const int status = in_child(
      [&] {
        progress_monitor monitor;
        auto first = open_sqlite_store(base.path() / "data", day_zero, monitor.events());
        first->store_ptr->commit({1, {put_run{sample_run(1)}}});
        if (!monitor.wait_persisted(1)) ::_exit(3);
        fs::remove(base.path() / "data" / "lock");  // somebody knew better
        auto second = open_sqlite_store(base.path() / "data", day_zero, {});
        if (!second || second->snapshot.term != 2) ::_exit(4);
        first->store_ptr->commit({2, {put_run{sample_run(2)}}});
        monitor.wait_persisted(2);
      },
      errors);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 74);
  CHECK(errors.find("term") != std::string::npos);
  auto opened = open_sqlite_store(base.path() / "data", day_zero, {});
  REQUIRE(opened.has_value());
  CHECK(opened->snapshot.last_number == 1);
}

TEST_CASE("a database of a newer schema is refused and left as it is") {
  const temporary_directory base;
  const fs::path file = base.path() / "data" / main_file;
  fill(base.path() / "data", 3);
  {
    connection(file, access::read_write)
        .execute("PRAGMA user_version=" + std::to_string(schema_version() + 1));
  }
  const std::string before = bytes_of(file);
  std::string message;
  CHECK(refusal_of(base.path() / "data", &message) == 78);
  CHECK(message.find("newer program") != std::string::npos);
  CHECK(bytes_of(file) == before);
}

TEST_CASE("a newer schema that is still in the log is refused without folding the log in") {
  const temporary_directory base;
  const fs::path file = base.path() / "data" / main_file;
  fill(base.path() / "data", 3);
  {
    connection db(file, access::read_write);
    db.leave_untouched();
    db.execute("PRAGMA user_version=" + std::to_string(schema_version() + 1));
  }
  const std::string before = bytes_of(file), log = bytes_of(file.string() + "-wal");
  REQUIRE_FALSE(log.empty());
  CHECK(refusal_of(base.path() / "data") == 78);
  CHECK(bytes_of(file) == before);
  CHECK(bytes_of(file.string() + "-wal") == log);
}

TEST_CASE("damaged databases are refused with 65 and left as they are") {
  const temporary_directory base;
  const fs::path dir = base.path() / "data";
  const fs::path file = dir / main_file;
  fill(dir, 500);
  const std::string good = bytes_of(file);
  REQUIRE(good.size() > 20 * 4096);
  const auto refused = [&](const char* what) {
    CAPTURE(what);
    const std::string before = bytes_of(file);
    std::string message;
    CHECK(refusal_of(dir, &message) == 65);
    CHECK(message.find("Restore a backup") != std::string::npos);
    CHECK(bytes_of(file) == before);
  };

  SUBCASE("random bytes") {
    random_source random(7);
    std::string noise(good.size(), '\0');
    for (char& c : noise) c = static_cast<char>(random.next());
    write_file(file, noise);
    refused("noise");
  }
  SUBCASE("cut short at any page and inside one") {
    for (const std::size_t size : {good.size() - 4096, good.size() / 2 / 4096 * 4096, std::size_t{4096},
                                   good.size() - 100, std::size_t{1000}, std::size_t{50}}) {
      write_file(file, good.substr(0, size));
      CAPTURE(size);
      refused("cut");
    }
  }
  SUBCASE("a page overwritten") {
    std::string bytes = good;
    for (std::size_t i = 8 * 4096; i < 9 * 4096; ++i) bytes[i] = static_cast<char>(i * 31);
    write_file(file, bytes);
    refused("page");
  }
  SUBCASE("the database of another program") {
    fs::remove(file);
    connection(file, access::create).execute("PRAGMA application_id=77; CREATE TABLE t(x)");
    refused("foreign");
  }
  SUBCASE("the tables of another program without an application id") {
    fs::remove(file);
    connection(file, access::create).execute("CREATE TABLE t(x)");
    refused("foreign");
  }
  SUBCASE("empty, with a log beside it") {
    write_file(file, "");
    write_file(file.string() + "-wal", "left over");
    refused("empty");
  }
  SUBCASE("missing, with a log beside it") {
    fs::remove(file);
    write_file(file.string() + "-wal", "left over");
    CHECK(refusal_of(dir) == 65);
    CHECK_FALSE(fs::exists(file));
  }
  SUBCASE("missing, with the output still there") {
    fs::remove(file);
    CHECK(refusal_of(dir) == 65);
    CHECK_FALSE(fs::exists(file));
  }
  SUBCASE("the output of another database") {
    fill(base.path() / "other", 1);
    fs::copy_file(base.path() / "other" / output_file, dir / output_file,
                  fs::copy_options::overwrite_existing);
    CHECK(refusal_of(dir) == 65);
  }
}

TEST_CASE("an empty file without a log is a new database") {
  const temporary_directory base;
  const fs::path dir = base.path() / "data";
  fs::create_directory(dir);
  write_file(dir / main_file, "");
  CHECK(refusal_of(dir) == 0);
}

TEST_CASE("output that is lost is not replaced by an empty database without a word") {
  const temporary_directory base;
  const fs::path dir = base.path() / "data";
  const fs::path file = dir / output_file;
  fill(dir, 1);
  const auto is_refused = [&] {
    std::string message;
    CHECK(refusal_of(dir, &message) == 65);
    CHECK(message.find(file.string()) != std::string::npos);
    CHECK(message.find("--accept-lost-output") != std::string::npos);
  };
  const auto start_without = [&] {
    auto opened = open_sqlite_store(dir, day_zero, {}, true);
    REQUIRE(opened.has_value());
    return opened->snapshot.output_lost_now;
  };
  SUBCASE("missing") {
    fs::remove(file);
    is_refused();
    CHECK_FALSE(fs::exists(file));  // whoever finds it can put it back
  }
  SUBCASE("empty") {
    write_file(file, "");
    is_refused();
    CHECK(fs::file_size(file) == 0);
  }
  SUBCASE("a blank database") {
    fs::remove(file);
    {
      connection(file, access::create).execute("CREATE TABLE t(x); DROP TABLE t");
    }
    is_refused();
  }
  SUBCASE("of a database that was used before it noted its output") {
    progress_monitor monitor;
    auto opened = open_sqlite_store(dir, day_zero, monitor.events());
    REQUIRE(opened.has_value());
    const std::uint64_t number = opened->snapshot.last_number + 1;
    opened->store_ptr->commit(
        {number, {put_run{sample_run(9)}, put_attempt{sample_attempt(9, sample_run(9))}}});
    REQUIRE(monitor.wait_persisted(number));
    opened->store_ptr.reset();
    {
      connection(dir / main_file, access::read_write).execute("DELETE FROM meta WHERE key='output_bound'");
    }
    fs::remove(file);
    is_refused();
  }
  CHECK(start_without());
  CHECK_FALSE(start_without());
  CHECK(refusal_of(dir) == 0);
}

TEST_CASE("a first start that was killed before it had an output database has lost none") {
  const temporary_directory base;
  const fs::path dir = base.path() / "data";
  fill(dir, 0);
  fs::remove(dir / output_file);
  {
    connection(dir / main_file, access::read_write).execute("DELETE FROM meta WHERE key='output_bound'");
  }
  auto opened = open_sqlite_store(dir, day_zero, {});
  REQUIRE(opened.has_value());
  CHECK_FALSE(opened->snapshot.output_lost_now);
}

TEST_CASE("a path that cannot be a data directory is refused with 73") {
  const temporary_directory base;
  write_file(base.path() / "file", "x");
  CHECK(refusal_of(base.path() / "file") == 73);
  CHECK(refusal_of(base.path() / "file" / "below") == 73);
}

TEST_CASE("a data directory of another user is refused with 77") {
  if (::geteuid() != 0) return;  // only root can give a directory away
  const temporary_directory base;
  fs::create_directory(base.path() / "data");
  REQUIRE(::chown((base.path() / "data").c_str(), 12345, 12345) == 0);
  CHECK(refusal_of(base.path() / "data") == 77);
}

TEST_CASE("what was acknowledged is there after a kill at any moment") {
  const temporary_directory base;
  const fs::path dir = base.path() / "data";
  random_source random(42);
  std::uint64_t acknowledged = 0;
  for (int cycle = 0; cycle < 12; ++cycle) {
    int pipe_ends[2];
    REQUIRE(::pipe(pipe_ends) == 0);
    const pid_t child = ::fork();
    if (child == 0) {
      ::close(pipe_ends[0]);
      store_events events;
      events.persisted = [fd = pipe_ends[1]](std::uint64_t n) {
        if (::write(fd, &n, sizeof n) != sizeof n) ::_exit(4);
      };
      auto opened = open_sqlite_store(dir, day_zero, std::move(events));
      if (!opened) ::_exit(opened.error().exit_code);
      std::uint64_t number = opened->snapshot.last_number;
      for (;;) {
        while (opened->store_ptr->queued_bytes() > 100'000) ::usleep(100);
        ++number;
        opened->store_ptr->commit(
            {number, {put_run{sample_run(number)}, put_attempt{sample_attempt(number, sample_run(number))}}});
      }
    }
    ::close(pipe_ends[1]);
    // The kill comes some time after the first acknowledgement, which the pipe tells.
    ::pollfd wait{pipe_ends[0], POLLIN, 0};
    REQUIRE(::poll(&wait, 1, 20'000) == 1);
    std::this_thread::sleep_for(std::chrono::microseconds{random.below(30'000)});
    ::kill(child, SIGKILL);
    std::uint64_t number = 0;
    while (::read(pipe_ends[0], &number, sizeof number) == sizeof number) acknowledged = number;
    ::close(pipe_ends[0]);
    int status = 0;
    ::waitpid(child, &status, 0);
    REQUIRE(WIFSIGNALED(status));

    auto opened = open_sqlite_store(dir, day_zero, {});
    REQUIRE(opened.has_value());
    const snapshot& s = opened->snapshot;
    CHECK(s.last_number >= acknowledged);
    CHECK(s.runs.size() == s.last_number);  // whole batches only, none missing
    CHECK(s.attempts.size() == s.last_number);
    CHECK(s.lease_counter.value == s.last_number);
    CHECK(s.term == static_cast<std::uint64_t>(2 * cycle + 2));
  }
  CHECK(acknowledged > 0);
}

TEST_CASE("a second decision about an instant ends the process with 74") {
  const temporary_directory base;
  const put_instant row{"nightly", day_zero, instant_outcome::ran, id_number(1), "", 1, std::nullopt};
  put_instant other = row;
  other.run = id_number(2);
  std::string errors;
  const int status = in_child([&] { commit_all(base.path() / "data", {{row}, {other}}); }, errors);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 74);
  CHECK(errors.find("[ERROR] store: orchestrator.db: ") == 0);
  CHECK(errors.find("nightly was decided twice") != std::string::npos);
  auto opened = open_sqlite_store(base.path() / "data", day_zero, {});
  REQUIRE(opened.has_value());
  CHECK(opened->snapshot.last_number == 1);
}

TEST_CASE("the database itself refuses a second end of a run and a second live attempt") {
  const temporary_directory base;
  run ended = sample_run(1), revived = sample_run(1);
  ended.state = run_state::failed;
  revived.state = run_state::succeeded;
  std::string errors;
  int status =
      in_child([&] { commit_all(base.path() / "a", {{put_run{ended}}, {put_run{revived}}}); }, errors);
  CHECK(WEXITSTATUS(status) == 74);
  CHECK(errors.find("final") != std::string::npos);

  const run r = sample_run(2);
  errors.clear();
  status = in_child(
      [&] {
        commit_all(base.path() / "b",
                   {{put_run{r}, put_attempt{sample_attempt(1, r)}}, {put_attempt{sample_attempt(2, r)}}});
      },
      errors);
  CHECK(WEXITSTATUS(status) == 74);
  CHECK(errors.find("attempts") != std::string::npos);
}

TEST_CASE("a second end of a run within one group commit is caught as well") {
  const temporary_directory base;
  run ended = sample_run(1), revived = sample_run(1);
  ended.state = run_state::failed;
  revived.state = run_state::succeeded;
  std::string errors;
  const int status =
      in_child([&] { commit_all(base.path() / "a", {{put_run{ended}, put_run{revived}}}); }, errors);
  CHECK(WIFSIGNALED(status));
  CHECK(errors.find("given another state") != std::string::npos);
}

TEST_CASE("batch numbers that do not rise by one are a bug") {
  const temporary_directory base;
  std::string errors;
  const int status = in_child(
      [&] {
        auto opened = open_sqlite_store(base.path() / "data", day_zero, {});
        opened->store_ptr->commit({2, {}});
      },
      errors);
  CHECK(WIFSIGNALED(status));
  CHECK(errors.find("without gaps") != std::string::npos);
}

TEST_CASE("a failure to write that is not about space ends the process with 74 before the next batch") {
  const temporary_directory base;
  std::string errors;
  const int status = in_child(
      [&] {
        // The hook makes every statement of the next transaction fail as a broken disk would.
        auto fail = std::make_shared<std::atomic<bool>>(false);
        store_hooks hooks;
        hooks.main.hook = [fail](sqlite3* db) {
          if (*fail) sqlite3_progress_handler(db, 1, [](void*) { return 1; }, nullptr);
        };
        progress_monitor monitor;
        auto opened = open_sqlite_store(base.path() / "data", day_zero, monitor.events(), std::move(hooks));
        opened->store_ptr->commit({1, {put_run{sample_run(1)}}});
        if (!monitor.wait_persisted(1)) ::_exit(3);
        *fail = true;
        opened->store_ptr->commit({2, {put_run{sample_run(2)}}});
        monitor.wait_persisted(2);
      },
      errors);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 74);
  auto opened = open_sqlite_store(base.path() / "data", day_zero, {});
  REQUIRE(opened.has_value());
  CHECK(opened->snapshot.last_number == 1);
}

TEST_CASE("on a full disk the same batches are tried again until there is room") {
  const temporary_directory base;
  std::atomic<int> pages{1'000'000};
  store_hooks hooks;
  hooks.main.hook = [&](sqlite3* db) {
    sqlite3_exec(db, ("PRAGMA max_page_count=" + std::to_string(pages.load())).c_str(), nullptr, nullptr,
                 nullptr);
  };
  progress_monitor monitor;
  auto opened = open_sqlite_store(base.path() / "data", day_zero, monitor.events(), std::move(hooks));
  REQUIRE(opened.has_value());
  auto& st = *opened->store_ptr;
  st.commit({1, {put_run{sample_run(1)}}});
  REQUIRE(monitor.wait_persisted(1));
  pages = 1;  // SQLite takes the present size instead: not one page more
  const std::string large(100'000, 'x');
  for (std::uint64_t n = 2; n <= 4; ++n)
    st.commit({n, {put_spec{spec_id{n}, large}, put_run{sample_run(n)}}});
  REQUIRE(monitor.wait_space({true}));
  CHECK(monitor.persisted() == 1);
  CHECK(st.queued_bytes() > 100'000);
  // Readers go on meanwhile.
  std::atomic<std::uint64_t> revision{0};
  st.read([&](reader& q) { revision = q.revision(); });
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (revision == 0 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  CHECK(revision == 1);
  pages = 1'000'000;
  REQUIRE(monitor.wait_persisted(4));
  CHECK(monitor.wait_space({true, false}));
  st.close();
  CHECK(st.queued_bytes() == 0);
  opened->store_ptr.reset();
  auto again = open_sqlite_store(base.path() / "data", day_zero, {});
  REQUIRE(again.has_value());
  CHECK(again->snapshot.runs.size() == 4);
}

TEST_CASE("a full output disk delays output and nothing else") {
  const temporary_directory base;
  std::atomic<int> pages{1'000'000};
  store_hooks hooks;
  hooks.output.hook = [&](sqlite3* db) {
    sqlite3_exec(db, ("PRAGMA max_page_count=" + std::to_string(pages.load())).c_str(), nullptr, nullptr,
                 nullptr);
  };
  progress_monitor monitor;
  auto opened = open_sqlite_store(base.path() / "data", day_zero, monitor.events(), std::move(hooks));
  REQUIRE(opened.has_value());
  auto& st = *opened->store_ptr;
  st.commit_output({1, {{lease_id{1}, "stdout", 0, "first"}}});
  REQUIRE(monitor.wait_output(1));
  pages = 1;
  st.commit_output({2,
                    {{lease_id{1}, "stdout", 5, std::string(60'000, 'x')},
                     {lease_id{2}, "stdout", 0, std::string(60'000, 'y')}}});
  REQUIRE(monitor.wait_space({true}));
  st.commit({1, {put_run{sample_run(1)}}});
  REQUIRE(monitor.wait_persisted(1));
  pages = 1'000'000;
  REQUIRE(monitor.wait_output(2));
  REQUIRE(monitor.wait_space({true, false}));
  std::atomic<bool> done{false};
  std::uint64_t one = 0, two = 0;
  st.read([&](reader& q) {
    one = q.read_output(lease_id{1}, "stdout", 0, 10).end;
    two = q.read_output(lease_id{2}, "stdout", 0, 10).end;
    done = true;
  });
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (!done && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  CHECK(one == 60'005);
  CHECK(two == 60'000);
}

TEST_CASE("close on a full disk gives up what was never acknowledged") {
  const temporary_directory base;
  std::atomic<int> pages{1'000'000};
  store_hooks hooks;
  hooks.main.hook = [&](sqlite3* db) {
    sqlite3_exec(db, ("PRAGMA max_page_count=" + std::to_string(pages.load())).c_str(), nullptr, nullptr,
                 nullptr);
  };
  progress_monitor monitor;
  {
    auto opened = open_sqlite_store(base.path() / "data", day_zero, monitor.events(), std::move(hooks));
    REQUIRE(opened.has_value());
    opened->store_ptr->commit({1, {put_run{sample_run(1)}}});
    REQUIRE(monitor.wait_persisted(1));
    pages = 1;
    opened->store_ptr->commit({2, {put_spec{spec_id{1}, std::string(100'000, 'x')}}});
    REQUIRE(monitor.wait_space({true}));
    opened->store_ptr->close();
  }
  CHECK(monitor.persisted() == 1);
  auto opened = open_sqlite_store(base.path() / "data", day_zero, {});
  REQUIRE(opened.has_value());
  CHECK(opened->snapshot.last_number == 1);
}

TEST_CASE("readers see whole batches while the writer goes on, and the log is kept short") {
  const temporary_directory base;
  const fs::path dir = base.path() / "data";
  progress_monitor monitor;
  auto opened = open_sqlite_store(dir, day_zero, monitor.events());
  REQUIRE(opened.has_value());
  auto& st = *opened->store_ptr;
  std::atomic<int> reads{0}, torn{0}, backwards{0};
  std::uint64_t last_seen = 0;  // of the reader thread alone
  std::function<void(reader&)> look = [&](reader& q) {
    const std::uint64_t revision = q.revision();
    const run_counts counts = q.count_runs();
    // Each batch has two runs and a fact.
    if (counts.by_state[0] != 2 * revision) ++torn;
    const auto facts = q.last_facts(1);
    if (!facts.empty() && facts[0].sequence != revision) ++torn;
    if (revision < last_seen) ++backwards;
    last_seen = revision;
    ++reads;
  };
  const std::uint64_t batches = 2'000;
  for (std::uint64_t n = 1; n <= batches; ++n) {
    run one = sample_run(2 * n), two = sample_run(2 * n + 1);
    one.args = std::string(4'000, 'a');
    st.commit({n, {put_run{one}, put_fact{sample_fact(n)}, put_run{two}}});
    if (n % 10 == 0) st.read(look);
  }
  REQUIRE(monitor.wait_persisted(batches));
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (reads < static_cast<int>(batches / 10) && std::chrono::steady_clock::now() < deadline)
    std::this_thread::yield();
  CHECK(reads == static_cast<int>(batches / 10));
  CHECK(torn == 0);
  CHECK(backwards == 0);
  CHECK(fs::file_size((dir / main_file).string() + "-wal") < 4 * limits::wal_checkpoint_bytes);
  st.close();
  CHECK((!fs::exists((dir / main_file).string() + "-wal") ||
         fs::file_size((dir / main_file).string() + "-wal") == 0));
}

TEST_CASE("a group commit joins batches and never splits one") {
  const temporary_directory base;
  std::atomic<int> transactions{0};
  store_hooks hooks;
  hooks.main.hook = [&](sqlite3*) { ++transactions; };
  progress_monitor monitor;
  auto opened = open_sqlite_store(base.path() / "data", day_zero, monitor.events(), std::move(hooks));
  REQUIRE(opened.has_value());
  std::vector<mutation> huge;
  for (std::uint64_t n = 0; n < 2 * limits::commit_mutations; ++n) huge.push_back(put_fact{sample_fact(n)});
  opened->store_ptr->commit({1, std::move(huge)});
  for (std::uint64_t n = 2; n <= 400; ++n) opened->store_ptr->commit({n, {put_run{sample_run(n)}}});
  REQUIRE(monitor.wait_persisted(400));
  CHECK(transactions < 100);
  CHECK(transactions >= 2);
}

TEST_CASE("a purge that a crash interrupted gives its output back at the next start") {
  const temporary_directory base;
  const fs::path dir = base.path() / "data";
  {
    progress_monitor monitor;
    auto opened = open_sqlite_store(dir, day_zero, monitor.events());
    REQUIRE(opened.has_value());
    opened->store_ptr->commit_output({1, {{lease_id{5}, "stdout", 0, "left behind"}}});
    REQUIRE(monitor.wait_output(1));
  }
  {
    connection(dir / main_file, access::read_write).execute("INSERT INTO dropped_output VALUES(5)");
  }
  auto opened = open_sqlite_store(dir, day_zero, {});
  REQUIRE(opened.has_value());
  const auto deadline = std::chrono::steady_clock::now() + patience;
  std::atomic<bool> gone{false};
  while (!gone && std::chrono::steady_clock::now() < deadline) {
    std::atomic<bool> done{false};
    opened->store_ptr->read([&](reader& q) {
      gone = q.read_output(lease_id{5}, "stdout", 0, 10).end == 0;
      done = true;
    });
    while (!done && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  }
  CHECK(gone);
  opened->store_ptr.reset();
}

TEST_CASE("the settings that durability rests on are read back from the writing connection") {
  const temporary_directory base;
  connection db(base.path() / "x.db", access::create);
  configure_writer(db, 1024);
  CHECK(db.text("PRAGMA journal_mode") == "wal");
  CHECK(db.integer("PRAGMA synchronous") == 2);
  CHECK(db.integer("PRAGMA wal_autocheckpoint") == 0);
  CHECK(db.integer("PRAGMA mmap_size") == 0);
}
