// What a process starts with, and what is said when it does not start.
#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "support/process_fixture.hpp"

using namespace orchestrator;
using namespace orchestrator::process;
using namespace orchestrator::process::testing;

namespace {

void write_file(const std::filesystem::path& path, const std::string& text, bool executable) {
  std::ofstream(path) << text;
  using std::filesystem::perms;
  std::filesystem::permissions(path, executable ? perms::owner_all : perms::owner_read | perms::owner_write);
}

}  // namespace

TEST_CASE("exit codes arrive as they were given") {
  work_dir dir;
  test_daemon daemon(dir);
  CHECK(daemon.run(command(1, {"true"})).exit_code == 0);
  CHECK(daemon.run(command(2, {"false"})).exit_code == 1);
  const auto end = daemon.run(shell(3, "exit 143"));
  CHECK(end.exit_code == 143);
  CHECK(end.signal == 0);
  CHECK(end.started);
  CHECK_FALSE(end.killed);
  CHECK(end.duration_seconds > 0);
  CHECK(end.duration_seconds < 10);
}

TEST_CASE("a process that dies of a signal reports the signal") {
  work_dir dir;
  test_daemon daemon(dir);
  const auto end = daemon.run(shell(1, "kill -9 $$"));
  CHECK(end.signal == SIGKILL);
  CHECK_FALSE(end.killed);
  CHECK_FALSE(end.timed_out);
}

TEST_CASE("cpu time and memory are counted, children included") {
  work_dir dir;
  test_daemon daemon(dir);
  const auto end = daemon.run(shell(1, "sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done'"));
  CHECK(end.cpu_seconds > 0.05);
  CHECK(end.max_rss_bytes > 500'000);
}

TEST_CASE(
    "a program that is in no directory of PATH is not started, and the sentence says where it was looked "
    "for") {
  work_dir dir;
  test_daemon daemon(dir);
  auto what = command(1, {"no-such-program-here"});
  what.env["PATH"] = "/usr/bin:/bin";
  const auto end = daemon.run(what);
  CHECK_FALSE(end.started);
  CHECK(end.error_number == ENOENT);
  CHECK(end.error == "cannot run 'no-such-program-here': No such file or directory in PATH (/usr/bin:/bin)");
  CHECK_FALSE(daemon.starts.contains(1));
}

TEST_CASE("the PATH of the launch decides, not the one of the supervisor") {
  work_dir dir;
  test_daemon daemon(dir);
  const auto bin = dir.path() / "bin";
  std::filesystem::create_directory(bin);
  write_file(bin / "true", "#!/bin/sh\necho from my own folder\n", true);
  auto what = command(1, {"true"});
  what.env["PATH"] = bin.string() + ":/usr/bin:/bin";
  CHECK(daemon.run(what).exit_code == 0);
  CHECK(daemon.read_all(1, "stdout") == "from my own folder\n");
  auto relative = command(2, {"true"});
  relative.env["PATH"] = "bin";
  relative.cwd = dir.path();
  CHECK(daemon.run(relative).exit_code == 0);
  CHECK(daemon.read_all(2, "stdout") == "from my own folder\n");
}

TEST_CASE("a file without execute permission, a folder and a text file are refused with what to do (J6)") {
  work_dir dir;
  test_daemon daemon(dir);
  write_file(dir.path() / "plain", "#!/bin/sh\n", false);
  auto end = daemon.run(command(1, {(dir.path() / "plain").string()}));
  CHECK_FALSE(end.started);
  CHECK(end.error_number == EACCES);
  CHECK(end.error.find("chmod +x") != std::string::npos);
  end = daemon.run(command(2, {dir.path().string()}));
  CHECK_FALSE(end.started);
  CHECK(end.error_number == EACCES);
  CHECK(end.error.find("is a directory") != std::string::npos);
  CHECK(end.error.find("chmod") == std::string::npos);
  write_file(dir.path() / "text", "no first line that names an interpreter\n", true);
  end = daemon.run(command(3, {(dir.path() / "text").string()}));
  CHECK_FALSE(end.started);
  CHECK(end.error_number == ENOEXEC);
  CHECK(end.error.find("#!") != std::string::npos);
  write_file(dir.path() / "script", "#!/no/such/interpreter\n", true);
  end = daemon.run(command(4, {(dir.path() / "script").string()}));
  CHECK(end.error_number == ENOENT);
  CHECK(end.error.find("interpreter") != std::string::npos);
  end = daemon.run(command(5, {""}));
  CHECK(end.error_number == ENOENT);
  end = daemon.run(command(6, {}));
  CHECK(end.error_number == EINVAL);
}

TEST_CASE("a working directory that is missing is named (J7)") {
  work_dir dir;
  test_daemon daemon(dir);
  auto what = command(1, {"true"});
  what.cwd = "/no/such/folder";
  const auto end = daemon.run(what);
  CHECK_FALSE(end.started);
  CHECK(end.error_number == ENOENT);
  CHECK(end.error == "cannot enter the working directory '/no/such/folder': No such file or directory");
}

TEST_CASE("a process runs in its working directory") {
  work_dir dir;
  test_daemon daemon(dir);
  auto what = command(1, {"pwd"});
  what.cwd = dir.path();
  CHECK(daemon.run(what).exit_code == 0);
  CHECK(daemon.read_all(1, "stdout") == std::filesystem::canonical(dir.path()).string() + "\n");
}

TEST_CASE("the input text is read to its end, and without one there is none") {
  work_dir dir;
  test_daemon daemon(dir);
  auto what = command(1, {"cat"});
  what.stdin_text = std::string(300'000, 'x') + "end\n";
  CHECK(daemon.run(what).exit_code == 0);
  CHECK(daemon.read_all(1, "stdout") == what.stdin_text);
  CHECK(daemon.run(command(2, {"cat"})).output_bytes.at("stdout") == 0);
}

TEST_CASE("the environment is exactly what was given") {
  work_dir dir;
  ::setenv("LEAKED_FROM_THE_DAEMON", "1", 1);
  test_daemon daemon(dir);
  launch what;
  what.lease = 1;
  what.argv = {"/usr/bin/env"};
  what.env = {{"A", "1"}, {"B", "two words"}, {"EMPTY", ""}};
  CHECK(daemon.run(what).exit_code == 0);
  CHECK(daemon.read_all(1, "stdout") == "A=1\nB=two words\nEMPTY=\n");
  ::unsetenv("LEAKED_FROM_THE_DAEMON");
}

TEST_CASE("no descriptor but 0, 1 and 2 is inherited (J19)") {
  work_dir dir;
  const int leaky = ::open("/dev/null", O_RDONLY);  // without close-on-exec, as libraries do
  test_daemon daemon(dir);
  CHECK(daemon.run(command(1, {"ls", "/proc/self/fd"})).exit_code == 0);
  CHECK(daemon.read_all(1, "stdout") == "0\n1\n2\n3\n");  // 3 is the listing itself
  ::close(leaky);
}

TEST_CASE("signals are as a shell would have them: none blocked, none ignored") {
  work_dir dir;
  ::signal(SIGPIPE, SIG_IGN);
  test_daemon daemon(dir);
  CHECK(daemon.run(shell(1, "grep -E 'SigBlk|SigIgn' /proc/self/status")).exit_code == 0);
  ::signal(SIGPIPE, SIG_DFL);
  CHECK(daemon.read_all(1, "stdout") == "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

TEST_CASE("each process leads a session of its own") {
  work_dir dir;
  test_daemon daemon(dir);
  CHECK(daemon.run(shell(1, "cut -d' ' -f1,5,6 /proc/$$/stat")).exit_code == 0);
  std::istringstream fields(daemon.read_all(1, "stdout"));
  int pid = 0;
  int group = 0;
  int session = 0;
  fields >> pid >> group >> session;
  CHECK(pid == daemon.starts[1]);
  CHECK(group == pid);
  CHECK(session == pid);
}
