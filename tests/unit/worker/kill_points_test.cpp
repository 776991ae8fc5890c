// The daemon killed at every point of a job's life: before its n-th effect on the world (a write to its
// outbox, to the supervisor, to the coordinator, a deletion), for every n from the offer until everything is
// acknowledged. The next daemon must have lost nothing, start nothing twice, and deliver the output whole.
#include <algorithm>
#include <cstdint>
#include <fstream>
#include <set>

#include <doctest/doctest.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include "support/worker_fixture.hpp"

using namespace orchestrator;
using namespace orchestrator::test;

namespace {

namespace fs = std::filesystem;
using protocol::result_status;

/// run_worker in a process whose first thread, which does all of its work, can be stopped before an effect.
class traced_worker {
 public:
  traced_worker(worker_shell::worker_options options, const fs::path& start_directory) {
    pid_ = ::fork();
    if (pid_ == 0) {
      if (::chdir(start_directory.c_str()) != 0 || ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0)
        ::_exit(99);
      ::raise(SIGSTOP);
      options.log_level = telemetry::level::error;
      options.start_again = false;
      ::_exit(worker_shell::run_worker(std::move(options)));
    }
    wait_for_stop();
    ::ptrace(static_cast<__ptrace_request>(PTRACE_SETOPTIONS), pid_, nullptr,
             reinterpret_cast<void*>(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL));
    resume(PTRACE_CONT, 0);
  }
  ~traced_worker() {
    if (dead_) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, __WALL);
  }
  traced_worker(const traced_worker&) = delete;

  /// From now on effects are counted, and the one with this number does not happen: it is killed before it.
  void kill_before(int effect) {
    last_ = effect;
    ::kill(pid_, SIGSTOP);
  }
  bool dead() const { return dead_; }

  /// Handles its stops until none came for a moment.
  void follow() {
    const auto quiet = std::chrono::milliseconds{2};
    for (auto until = std::chrono::steady_clock::now() + quiet; !dead_;) {
      int status = 0;
      if (::waitpid(pid_, &status, WNOHANG | __WALL) == pid_) {
        on_status(status);
        until = std::chrono::steady_clock::now() + quiet;
      } else if (std::chrono::steady_clock::now() > until) {
        return;
      }
    }
  }

 private:
  void wait_for_stop() {
    int status = 0;
    REQUIRE(::waitpid(pid_, &status, __WALL) == pid_);
    REQUIRE_MESSAGE(WIFSTOPPED(status), "the worker can be traced");
  }
  void resume(int how, int signal) const {
    ::ptrace(static_cast<__ptrace_request>(how), pid_, nullptr,
             reinterpret_cast<void*>(static_cast<std::intptr_t>(signal)));
  }
  void on_status(int status) {
    if (!WIFSTOPPED(status)) {
      dead_ = true;
      return;
    }
    const int how = last_ > 0 ? PTRACE_SYSCALL : PTRACE_CONT;
    if (WSTOPSIG(status) != (SIGTRAP | 0x80))
      return resume(how, WSTOPSIG(status) == SIGSTOP ? 0 : WSTOPSIG(status));
    if (enters_effect() && ++effects_ == last_) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, __WALL);
      dead_ = true;
      return;
    }
    resume(how, 0);
  }
  bool enters_effect() const {
    static const std::set<std::uint64_t> effects{SYS_write,   SYS_pwrite64, SYS_writev,   SYS_sendto,
                                                 SYS_sendmsg, SYS_unlink,   SYS_unlinkat, SYS_ftruncate,
                                                 SYS_rename,  SYS_fsync};
    __ptrace_syscall_info info{};
    ::ptrace(static_cast<__ptrace_request>(PTRACE_GET_SYSCALL_INFO), pid_,
             reinterpret_cast<void*>(sizeof info), &info);
    return info.op == PTRACE_SYSCALL_INFO_ENTRY && effects.contains(info.entry.nr);
  }

  pid_t pid_ = -1;
  int last_ = 0;
  int effects_ = 0;
  bool dead_ = false;
};

worker_shell::worker_options options_for(const temporary_directory& tmp, const worker_peer& peer) {
  worker_shell::worker_options o;
  o.server = "127.0.0.1:" + std::to_string(peer.port);
  o.work_dir = tmp.path / "work";
  o.slots = 1;
  o.retry_delay = milliseconds{50};
  return o;
}

protocol::execute_job job_with(std::uint64_t lease) {
  protocol::execute_job e;
  e.job_id = {"run-" + std::to_string(lease)};
  e.script_path = "job.sh";
  e.timeout_seconds = 60;
  e.lease = lease_id{lease};
  e.term = 1;
  return e;
}

bool lists(const std::vector<protocol::lease_ref>& list, std::uint64_t lease) {
  return std::any_of(list.begin(), list.end(), [&](const auto& ref) { return ref.lease.value == lease; });
}

std::vector<protocol::job_result> results_of(const worker_peer& peer, std::uint64_t lease) {
  auto found = peer.all<protocol::job_result>();
  std::erase_if(found, [&](const auto& r) { return r.lease->value != lease; });
  return found;
}

/// Lines of the job's own ledger: how often it was started.
std::ptrdiff_t starts(const temporary_directory& tmp) {
  std::ifstream in(tmp.path / "starts");
  return std::count(std::istreambuf_iterator<char>(in), {}, '\n');
}

/// One life, killed before its n-th effect. False if it had fewer and came to its end.
bool killed_before(int n, temporary_directory& tmp, worker_peer& peer, bool& settled) {
  traced_worker first(options_for(tmp, peer), tmp.path);
  const auto until = [&](auto condition) {
    return peer.until([&] {
      first.follow();
      return first.dead() || condition();
    });
  };
  REQUIRE(until([&] { return peer.all<protocol::worker_register>().size() == 1; }));
  first.kill_before(n);
  peer.send(job_with(5));
  REQUIRE(until([&] { return !results_of(peer, 5).empty(); }));
  if (first.dead()) return true;
  peer.acknowledge();
  settled = true;
  const auto acks = peer.all<protocol::worker_ack>().size();
  peer.send(protocol::drain{false});  // its ack shows that what came before was dealt with
  REQUIRE(until([&] { return peer.all<protocol::worker_ack>().size() > acks; }));
  return first.dead();
}

/// What the next daemon makes of it. `settled`: the coordinator has acknowledged the result.
void judge_next(temporary_directory& tmp, worker_peer& peer, bool settled) {
  REQUIRE(peer.until([&] { return !peer.connected; }));
  const auto before = peer.all<protocol::worker_register>().size();
  worker_process next(options_for(tmp, peer), tmp.path);
  REQUIRE(peer.until([&] { return peer.all<protocol::worker_register>().size() > before; }));
  const auto r = peer.all<protocol::worker_register>().back();
  const int listed = lists(r.running, 5) + lists(r.unacked, 5) + lists(r.lost, 5);
  CHECK(listed <= 1);
  if (listed == 0 && !settled) {
    CHECK(starts(tmp) == 0);  // it never came: the coordinator offers it anew, under another lease
    peer.send(job_with(6));
    REQUIRE(peer.until([&] { return !results_of(peer, 6).empty(); }));
    CHECK(results_of(peer, 6).back().status == result_status::success);
    CHECK(starts(tmp) == 1);
    return;
  }
  if (listed != 0) REQUIRE(peer.until([&] { return !results_of(peer, 5).empty(); }));
  const auto results = results_of(peer, 5);
  REQUIRE(!results.empty());
  for (const auto& result : results) CHECK(result.status == results.front().status);
  if (results.front().status == result_status::lost) {
    CHECK(starts(tmp) == 0);  // its start was recorded and never sent
  } else {
    CHECK(results.front().status == result_status::success);
    CHECK(starts(tmp) == 1);
    CHECK(peer.output(5, "stdout") == "first\nsecond\n");
  }
}

}  // namespace

TEST_CASE("a daemon killed before any of its effects loses no job, starts none twice, and drops no output") {
  int n = 1;
  for (;; ++n) {
    CAPTURE(n);
    REQUIRE(n < 500);
    temporary_directory tmp;
    worker_peer peer;
    std::ofstream(tmp.path / "job.sh") << "echo $$ >> starts; echo first; echo second\n";
    bool settled = false;
    if (!killed_before(n, tmp, peer, settled)) break;
    judge_next(tmp, peer, settled);
  }
  MESSAGE("killed at ", n - 1, " points");
  CHECK(n > 10);  // outbox, start, acks, output, result
}
