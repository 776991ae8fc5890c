// The daemon as a process, with its supervisor and real jobs, against a peer in this process: that the shell
// carries out what the core wants. What the core wants is tested in tests/unit/agent.
#include <algorithm>
#include <fstream>

#include <doctest/doctest.h>
#include <fmt/format.h>

#include "support/worker_fixture.hpp"

using namespace orchestrator;
using namespace orchestrator::test;

namespace {

namespace fs = std::filesystem;
using protocol::result_status;

worker_shell::worker_options options_for(const temporary_directory& tmp, const worker_peer& peer) {
  worker_shell::worker_options o;
  o.server = "127.0.0.1:" + std::to_string(peer.port);
  o.work_dir = tmp.path / "work";
  o.slots = 2;
  o.credit = 2;
  o.retry_delay = milliseconds{100};
  o.websocket.close_timeout = milliseconds{1000};
  return o;
}

protocol::execute_job script(std::uint64_t lease, const std::string& path, const std::string& args = "") {
  protocol::execute_job e;
  e.job_id = {"run-" + std::to_string(lease)};
  e.script_path = path;
  e.script_args = args;
  e.timeout_seconds = 60;
  e.kill_grace_seconds = 1;
  e.lease = lease_id{lease};
  e.attempt = 1;
  e.term = 1;
  e.run_id = "R";
  e.job = "J";
  return e;
}

void write_script(const fs::path& file, const std::string& text) { std::ofstream(file) << text; }

bool registered(worker_peer& peer, std::size_t times) {
  return peer.until([&] { return peer.all<protocol::worker_register>().size() == times && peer.connected; });
}

bool results(worker_peer& peer, std::size_t count) {
  return peer.until([&] { return peer.all<protocol::job_result>().size() >= count; });
}

/// A zombie that nobody reaps does not run.
bool is_running(int pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/stat");
  const std::string line{std::istreambuf_iterator<char>(in), {}};
  const auto bracket = line.rfind(") ");
  return bracket != std::string::npos && line[bracket + 2] != 'Z';
}

protocol::job_result result_of(const worker_peer& peer, std::uint64_t lease) {
  for (const auto& r : peer.all<protocol::job_result>()) {
    if (r.lease->value == lease) return r;
  }
  FAIL("no result of lease " << lease);
  return {};
}

bool outbox_is_empty_at_next_start(worker_peer& peer, const temporary_directory& tmp) {
  const auto times = peer.all<protocol::worker_register>().size() + 1;
  worker_process again(options_for(tmp, peer), tmp.path);
  if (!registered(peer, times)) return false;
  const auto r = peer.all<protocol::worker_register>().back();
  again.signal(SIGTERM);
  again.wait();
  return r.running.empty() && r.unacked.empty() && r.lost.empty();
}

}  // namespace

TEST_CASE("the daemon registers, runs a script, sends output and result, and ends on SIGTERM") {
  const temporary_directory tmp;
  worker_peer peer;
  write_script(tmp.path / "job.sh",
               "echo \"$1:$ORCHESTRATOR_LEASE:$ORCHESTRATOR_RUN_ID:${SECRET-none}\"; echo bad >&2; exit 3\n");
  ::setenv("SECRET", "not for jobs", 1);
  worker_process daemon(options_for(tmp, peer), tmp.path);
  REQUIRE(registered(peer, 1));
  const auto r = peer.all<protocol::worker_register>().at(0);
  CHECK(r.slots == 2);
  CHECK(!r.boot_id.empty());
  CHECK(r.opened.value_or(0) > 0);
  peer.send(script(7, "job.sh", "'two words'"));
  REQUIRE(results(peer, 1));
  const auto result = result_of(peer, 7);
  CHECK(result.status == result_status::failure);
  CHECK(result.exit_code == 3);
  CHECK(peer.output(7, "stdout") == "two words:7:R:none\n");
  CHECK(peer.output(7, "stderr") == "bad\n");
  CHECK(peer.all<protocol::worker_ack>().at(0).seq == 1);
  peer.acknowledge();
  peer.send(protocol::drain{false});  // its ack shows that the one before was read
  REQUIRE(peer.until([&] { return peer.all<protocol::worker_ack>().size() == 2; }));
  daemon.signal(SIGTERM);
  REQUIRE(peer.until([&] { return !peer.connected; }));
  CHECK(daemon.wait() == 0);
  CHECK(outbox_is_empty_at_next_start(peer, tmp));
}

TEST_CASE("a missing script is an ERROR with 127, not the interpreter's exit status") {
  const temporary_directory tmp;
  worker_peer peer;
  worker_process daemon(options_for(tmp, peer), tmp.path);
  REQUIRE(registered(peer, 1));
  peer.send(script(1, "absent.py"));
  peer.send(script(2, "absent"));
  write_script(tmp.path / "plain", "text");
  peer.send(script(3, "plain"));
  REQUIRE(results(peer, 3));
  CHECK(result_of(peer, 1).status == result_status::error);
  CHECK(result_of(peer, 1).exit_code == 127);
  CHECK(result_of(peer, 1).log_output.find("absent.py") != std::string::npos);
  CHECK(result_of(peer, 2).exit_code == 127);
  CHECK(result_of(peer, 3).exit_code == 126);
}

TEST_CASE("a killed daemon neither kills nor forgets its job: the next one delivers output and result") {
  const temporary_directory tmp;
  worker_peer peer;
  const fs::path go = tmp.path / "go";
  write_script(tmp.path / "job.sh",
               "echo $$ >> starts; echo before; until test -e go; do sleep 0.05; done; echo after\n");
  {
    worker_process daemon(options_for(tmp, peer), tmp.path);
    REQUIRE(registered(peer, 1));
    peer.send(script(5, "job.sh"));
    REQUIRE(peer.until([&] { return peer.output(5, "stdout") == "before\n"; }));
    daemon.signal(SIGKILL);
    CHECK(daemon.wait() == -SIGKILL);
  }
  REQUIRE(peer.until([&] { return !peer.connected; }));
  worker_process daemon(options_for(tmp, peer), tmp.path);
  REQUIRE(registered(peer, 2));
  const auto again = peer.all<protocol::worker_register>().back();
  REQUIRE(again.running.size() == 1);
  CHECK(again.running[0].lease.value == 5);
  CHECK(again.instance == peer.all<protocol::worker_register>().at(0).instance);
  CHECK(again.process != peer.all<protocol::worker_register>().at(0).process);
  write_script(go, "");
  REQUIRE(results(peer, 1));
  CHECK(result_of(peer, 5).status == result_status::success);
  CHECK(peer.output(5, "stdout") == "before\nafter\n");
  std::ifstream starts(tmp.path / "starts");
  CHECK(std::count(std::istreambuf_iterator<char>(starts), {}, '\n') == 1);
}

TEST_CASE("a lost connection is made again, and the result of meanwhile is delivered") {
  const temporary_directory tmp;
  worker_peer peer;
  write_script(tmp.path / "job.sh", "until test -e go; do sleep 0.05; done\n");
  worker_process daemon(options_for(tmp, peer), tmp.path);
  REQUIRE(registered(peer, 1));
  peer.send(script(5, "job.sh"));
  REQUIRE(peer.until([&] { return !peer.all<protocol::event>().empty(); }));
  peer.close(1001, "going away");
  REQUIRE(peer.until([&] { return !peer.connected; }));
  write_script(tmp.path / "go", "");
  REQUIRE(registered(peer, 2));
  REQUIRE(results(peer, 1));
  CHECK(result_of(peer, 5).status == result_status::success);
}

TEST_CASE("cancel ends the whole tree of a job, and Ctrl-C what runs") {
  const temporary_directory tmp;
  worker_peer peer;
  write_script(tmp.path / "job.sh", "trap '' TERM; sleep 60 & wait; sleep 60\n");
  worker_process daemon(options_for(tmp, peer), tmp.path);
  REQUIRE(registered(peer, 1));
  peer.send(script(1, "job.sh"));
  peer.send(script(2, "job.sh"));
  REQUIRE(peer.until([&] { return peer.all<protocol::event>().size() == 2; }));
  peer.send(protocol::cancel_job{{"run-1"}, lease_id{1}, 0.2});
  REQUIRE(results(peer, 1));
  CHECK(result_of(peer, 1).status == result_status::cancelled);
  daemon.signal(SIGINT);
  REQUIRE(results(peer, 2));
  CHECK(result_of(peer, 2).status == result_status::failure);
  CHECK(result_of(peer, 2).signal.has_value());
  peer.acknowledge();
  REQUIRE(peer.until([&] { return !peer.connected; }));
  CHECK(daemon.wait() == 0);
}

TEST_CASE(
    "another cluster's coordinator gets an empty outbox and its low lease numbers run; the first cluster "
    "comes back") {
  const temporary_directory tmp;
  worker_peer peer;
  write_script(tmp.path / "job.sh", "echo \"$ORCHESTRATOR_LEASE\"\n");
  {
    worker_process daemon(options_for(tmp, peer), tmp.path);
    REQUIRE(registered(peer, 1));
    peer.send(script(500, "job.sh"));
    REQUIRE(results(peer, 1));  // not acknowledged
    daemon.signal(SIGTERM);
    REQUIRE(peer.until([&] { return !peer.connected; }));
    CHECK(daemon.wait() == 0);
  }
  const uuid first = peer.cluster;
  for (const bool back : {false, true}) {
    CAPTURE(back);
    peer.cluster = back ? first : *parse_uuid("bbbbbbbb-0000-4000-8000-000000000002");
    const auto times = peer.all<protocol::worker_register>().size() + 1;
    worker_process daemon(options_for(tmp, peer), tmp.path);
    REQUIRE(registered(peer, times));
    REQUIRE(peer.until([&] { return !peer.connected; }));
    CHECK(daemon.wait() == 75);  // it would have started itself again
    worker_process next(options_for(tmp, peer), tmp.path);
    REQUIRE(registered(peer, times + 1));
    const auto r = peer.all<protocol::worker_register>().back();
    CHECK(r.unacked.size() == (back ? 1 : 0));
    if (!back) {
      const auto before = peer.all<protocol::job_result>().size();
      peer.send(script(3, "job.sh"));
      REQUIRE(results(peer, before + 1));
      CHECK(result_of(peer, 3).status == result_status::success);
      peer.acknowledge();
    }
    next.signal(SIGTERM);
    REQUIRE(peer.until([&] { return !peer.connected; }));
    CHECK(next.wait() == 0);
  }
}

TEST_CASE("when the supervisor is killed its job is killed too and reported lost, never started again") {
  const temporary_directory tmp;
  worker_peer peer;
  write_script(tmp.path / "job.sh", "echo $$ >> starts; exec sleep 60\n");
  worker_process daemon(options_for(tmp, peer), tmp.path);
  REQUIRE(registered(peer, 1));
  peer.send(script(4, "job.sh"));
  REQUIRE(peer.until([&] { return fs::exists(tmp.path / "starts"); }));
  int job = 0;
  REQUIRE(peer.until([&] { return static_cast<bool>(std::ifstream(tmp.path / "starts") >> job); }));
  const pid_t supervisor = supervisor_of(tmp.path / "work/supervisor.lock");
  REQUIRE(supervisor > 0);
  ::kill(supervisor, SIGKILL);
  REQUIRE(peer.until([&] { return !peer.connected; }));
  CHECK(daemon.wait() == 70);  // within seconds of its start; later it would have started itself again
  CHECK(!is_running(job));
  worker_process next(options_for(tmp, peer), tmp.path);
  REQUIRE(registered(peer, 2));
  REQUIRE(peer.all<protocol::worker_register>().back().lost.size() == 1);
  REQUIRE(results(peer, 1));
  CHECK(result_of(peer, 4).status == result_status::lost);
}

/// The daemon and its supervisor, at once: as an out-of-memory killer, or a person, may do it.
void kill_both(worker_process& daemon, const temporary_directory& tmp) {
  const pid_t supervisor = supervisor_of(tmp.path / "work/supervisor.lock");
  REQUIRE(supervisor > 0);
  daemon.signal(SIGKILL);
  ::kill(supervisor, SIGKILL);
  CHECK(daemon.wait() == -SIGKILL);
}

TEST_CASE(
    "daemon and supervisor killed together: also a job that emptied its environment is dead before it is "
    "lost") {
  const temporary_directory tmp;
  worker_peer peer;
  write_script(tmp.path / "job.sh", "echo $$ >> starts; exec env -i sleep 60\n");
  int job = 0;
  {
    worker_process daemon(options_for(tmp, peer), tmp.path);
    REQUIRE(registered(peer, 1));
    peer.send(script(4, "job.sh"));
    REQUIRE(peer.until([&] { return static_cast<bool>(std::ifstream(tmp.path / "starts") >> job); }));
    REQUIRE(peer.until([&] {
      std::ifstream in("/proc/" + std::to_string(job) + "/comm");
      std::string name;
      return static_cast<bool>(in >> name) && name == "sleep";
    }));
    const fs::path session = tmp.path / "work/spool/4.session";
    REQUIRE(peer.until([&] { return fs::exists(session) && fs::file_size(session) > 0; }));
    kill_both(daemon, tmp);
  }
  REQUIRE(peer.until([&] { return !peer.connected; }));
  CHECK(is_running(job));
  worker_process next(options_for(tmp, peer), tmp.path);
  REQUIRE(registered(peer, 2));
  REQUIRE(results(peer, 1));
  CHECK(result_of(peer, 4).status == result_status::lost);
  CHECK(!is_running(job));
  ::kill(job, SIGKILL);
}

TEST_CASE("what the spool holds of a lost job is delivered before it is forgotten") {
  const temporary_directory tmp;
  worker_peer peer;
  write_script(tmp.path / "job.sh", "echo one; until test -e go; do sleep 0.05; done; echo two; sleep 60\n");
  {
    worker_process daemon(options_for(tmp, peer), tmp.path);
    REQUIRE(registered(peer, 1));
    peer.send(script(4, "job.sh"));
    REQUIRE(peer.until([&] { return peer.output(4, "stdout") == "one\n"; }));
    peer.close(1001, "going away");
    REQUIRE(peer.until([&] { return !peer.connected; }));
    write_script(tmp.path / "go", "");
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds{20};
    const auto spooled = [&] {  // meanwhile the peer, which lives in this thread, does nothing
      std::ifstream in(tmp.path / "work/spool/4.stdout.0");
      return std::string{std::istreambuf_iterator<char>(in), {}};
    };
    while (spooled() != "one\ntwo\n" && std::chrono::steady_clock::now() < limit) ::poll(nullptr, 0, 5);
    REQUIRE(spooled() == "one\ntwo\n");
    kill_both(daemon, tmp);
  }
  peer.messages.clear();
  worker_process next(options_for(tmp, peer), tmp.path);
  REQUIRE(results(peer, 1));
  CHECK(result_of(peer, 4).status == result_status::lost);
  CHECK(result_of(peer, 4).output_bytes.at("stdout") == 8);
  CHECK(peer.output(4, "stdout") == "one\ntwo\n");
  peer.acknowledge();
  CHECK(peer.until([&] { return fs::is_empty(tmp.path / "work/spool"); }));
}

TEST_CASE("a copy of a work dir whose supervisor lives is refused, and the original goes on with its job") {
  const temporary_directory tmp;
  worker_peer peer;
  write_script(tmp.path / "job.sh", "until test -e go; do sleep 0.05; done; echo done\n");
  {
    worker_process daemon(options_for(tmp, peer), tmp.path);
    REQUIRE(registered(peer, 1));
    peer.send(script(4, "job.sh"));
    REQUIRE(peer.until([&] { return !peer.all<protocol::event>().empty(); }));
    daemon.signal(SIGKILL);
    daemon.wait();
  }
  REQUIRE(peer.until([&] { return !peer.connected; }));
  REQUIRE(std::system(fmt::format("cp -a {0}/work {0}/copy", tmp.path.string()).c_str()) == 0);
  auto copied = options_for(tmp, peer);
  copied.work_dir = tmp.path / "copy";
  CHECK(worker_process(copied, tmp.path).wait() == 75);
  worker_process original(options_for(tmp, peer), tmp.path);
  REQUIRE(registered(peer, 2));
  const auto r = peer.all<protocol::worker_register>();
  CHECK(r.back().instance == r.front().instance);
  CHECK(r.back().running.size() == 1);
  write_script(tmp.path / "go", "");
  REQUIRE(results(peer, 1));
  CHECK(result_of(peer, 4).status == result_status::success);
}

TEST_CASE("a coordinator that has stopped answering keeps no worker that is to end") {
  for (const bool by_signal : {true, false}) {
    CAPTURE(by_signal);
    const temporary_directory tmp;
    worker_peer peer;
    worker_process daemon(options_for(tmp, peer), tmp.path);
    REQUIRE(registered(peer, 1));
    if (by_signal)
      daemon.signal(SIGTERM);
    else
      ::kill(supervisor_of(tmp.path / "work/supervisor.lock"), SIGKILL);
    CHECK(daemon.wait() ==
          (by_signal ? 0 : 70));  // meanwhile the peer, which lives in this thread, does nothing
  }
}

TEST_CASE("what cannot be used is refused before anything starts") {
  const temporary_directory tmp;
  worker_peer peer;
  auto wrong_id = options_for(tmp, peer);
  wrong_id.worker_id = "../../x";
  CHECK(worker_process(wrong_id, tmp.path).wait() == 64);
  auto tls = options_for(tmp, peer);
  tls.server = "wss://localhost:1";
  CHECK(worker_process(tls, tmp.path).wait() == 64);
  worker_process first(options_for(tmp, peer), tmp.path);
  REQUIRE(registered(peer, 1));
  CHECK(worker_process(options_for(tmp, peer), tmp.path).wait() == 75);
}
