// A supervisor outlives upgrades of the daemon: one of another version keeps its jobs, and the daemon says
// what that means. The other version is played by a process of ours that speaks it by hand.
#include <doctest/doctest.h>

#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <csignal>

#include "frame_socket.hpp"
#include "supervisor_lock.hpp"
#include "support/process_fixture.hpp"
#include "wire.hpp"

using namespace orchestrator;
using namespace orchestrator::process;
using namespace orchestrator::process::testing;

namespace {

constexpr std::size_t frame_header = 5;  ///< length and kind

/// As version 1 wrote it: an end without `lease_lost`.
std::string item_of_version_1(std::uint64_t lease, bool ended) {
  process_end end;
  end.lease = lease;
  end.exit_code = 3;
  const auto newer = encode_end(end);
  const auto fields = newer.substr(frame_header, newer.size() - frame_header - 8);
  frame_writer item(message_kind::inventory_item);
  item.number(lease).number(1).number(0).number(0).text(ended ? fields : "");
  return std::move(item).finish();
}

/// As a later version might: more fields, and kinds nobody here has heard of.
std::string item_of_version_99(std::uint64_t lease) {
  frame_writer item(message_kind::inventory_item);
  item.number(lease).number(1).number(0).number(0).text("").text("surplus").number(7);
  return std::move(frame_writer(static_cast<message_kind>(200)).text("news")).finish() +
         std::move(item).finish();
}

class other_supervisor {
 public:
  other_supervisor(const work_dir& dir, std::uint64_t version, std::vector<std::string> items) {
    int ready[2];
    REQUIRE(::pipe(ready) == 0);
    pid_ = ::fork();
    if (pid_ == 0) serve(dir, version, items, ready[1]);
    char byte = 0;
    REQUIRE(::read(ready[0], &byte, 1) == 1);
    ::close(ready[0]);
    ::close(ready[1]);
  }
  ~other_supervisor() {
    ::kill(pid_, SIGKILL);
    if (!ended_) ::waitpid(pid_, nullptr, 0);
  }
  other_supervisor(const other_supervisor&) = delete;
  int pid() const { return pid_; }
  bool has_ended() {
    ended_ = ended_ || ::waitpid(pid_, nullptr, WNOHANG) == pid_;
    return ended_;
  }

 private:
  [[noreturn]] static void serve(const work_dir& dir, std::uint64_t version,
                                 const std::vector<std::string>& items, int ready) {
    ::signal(SIGTERM, SIG_DFL);  // not the test program's
    const auto folder = open_work_dir(dir.path());
    const auto lock = try_lock(folder->get());
    write_lock_owner(lock->get(), this_process());
    const auto listener = listen_in(folder->get());
    static_cast<void>(::write(ready, "1", 1));
    for (;;) {
      pollfd waiting{listener->get(), POLLIN, 0};
      ::poll(&waiting, 1, -1);
      frame_socket socket(unique_fd(::accept(listener->get(), nullptr, nullptr)));
      while (!socket.at_end()) answer(socket, version, items);
    }
  }
  static void answer(frame_socket& socket, std::uint64_t version, const std::vector<std::string>& items) {
    pollfd readable{socket.fd(), POLLIN, 0};
    ::poll(&readable, 1, -1);
    socket.fill();
    while (const auto message = socket.next()) {
      if (message->kind == message_kind::daemon_hello) {
        socket.queue(encode_hello(message_kind::supervisor_hello, {version, ::getpid()}));
        for (const auto& item : items) socket.queue(item);
        socket.queue(encode_lease(message_kind::inventory_end, items.size()));
      }
      if (message->kind == message_kind::start) {
        socket.queue(encode_started({decode_launch(message->body)->lease, 1, read_wall_clock()}));
      }
    }
    socket.flush();
  }

  pid_t pid_ = -1;
  bool ended_ = false;
};

}  // namespace

TEST_CASE("a supervisor of an older version keeps its jobs, and the daemon says what it does without") {
  work_dir dir;
  other_supervisor old(dir, 1, {item_of_version_1(4, false), item_of_version_1(5, true)});
  test_daemon daemon(dir);
  CHECK(daemon.client().pid() == old.pid());
  CHECK_FALSE(daemon.client().fresh());
  REQUIRE(daemon.client().inventory().size() == 2);
  CHECK_FALSE(daemon.client().inventory()[0].end.has_value());
  REQUIRE(daemon.client().inventory()[1].end.has_value());
  CHECK(daemon.client().inventory()[1].end->exit_code == 3);
  CHECK_FALSE(daemon.client().inventory()[1].end->lease_lost);
  CHECK(daemon.client().difference().find("older worker (its messages have version 1, ours 3)") !=
        std::string::npos);
  daemon.client().renew(4, read_boot_clock() + 60s);  // it has not heard of that, and goes on
  daemon.client().start(command(6, {"true"}));
  CHECK(daemon.wait_for_start(6) == 1);
  CHECK_FALSE(old.has_ended());
}

TEST_CASE("a supervisor of a newer version is understood as far as this one goes") {
  work_dir dir;
  other_supervisor newer(dir, 99, {item_of_version_99(4)});
  test_daemon daemon(dir);
  CHECK(daemon.client().pid() == newer.pid());
  REQUIRE(daemon.client().inventory().size() == 1);
  CHECK(daemon.client().inventory()[0].lease == 4);
  CHECK(daemon.client().difference().find("newer worker (its messages have version 99") != std::string::npos);
  daemon.client().start(command(6, {"true"}));
  CHECK(daemon.wait_for_start(6) == 1);
}

TEST_CASE("a supervisor of an older version that has nothing is replaced") {
  work_dir dir;
  other_supervisor old(dir, 1, {});
  test_daemon daemon(dir);
  CHECK(old.has_ended());
  CHECK(daemon.client().fresh());
  CHECK(daemon.client().difference().empty());
  CHECK(daemon.run(command(1, {"true"})).exit_code == 0);
}
