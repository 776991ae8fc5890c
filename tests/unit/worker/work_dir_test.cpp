// The work dir: one daemon at a time, the same identity at every start, one supervisor and term per cluster.
#include <filesystem>
#include <fstream>

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/worker_fixture.hpp"
#include "token.hpp"
#include "work_dir.hpp"

using namespace orchestrator;
using namespace orchestrator::worker_shell;
using orchestrator::test::temporary_directory;

namespace {

namespace fs = std::filesystem;

void write_line(const fs::path& file, const std::string& line) {
  fs::create_directories(file.parent_path());
  std::ofstream(file) << line << '\n';
}

/// XDG_STATE_HOME for as long as it lives.
struct state_home {
  explicit state_home(const fs::path& dir) { ::setenv("XDG_STATE_HOME", dir.c_str(), 1); }
  ~state_home() { ::unsetenv("XDG_STATE_HOME"); }
};

net::server_url server_at(const std::string& text) { return *net::parse_server_url(text); }

}  // namespace

TEST_CASE("a work dir is made for its owner alone, and keeps the worker's identity") {
  const temporary_directory tmp;
  const fs::path dir = tmp.path / "a" / "b";
  uuid instance;
  std::string worker_id;
  {
    const auto first = work_dir::open(dir);
    REQUIRE(first.has_value());
    instance = first->instance();
    worker_id = first->worker_id();
    CHECK(!instance.is_nil());
    CHECK(worker_id.size() == 15);
    CHECK(worker_id.starts_with("worker-"));
    CHECK(worker_id.substr(7).find_first_not_of("0123456789abcdef") == std::string::npos);
    struct stat info{};
    REQUIRE(::stat(dir.c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0700);
  }
  const auto again = work_dir::open(dir);
  REQUIRE(again.has_value());
  CHECK(again->instance() == instance);
  CHECK(again->worker_id() == worker_id);
}

TEST_CASE("a second daemon on the same work dir is refused with 75 and told who has it") {
  const temporary_directory tmp;
  const auto first = work_dir::open(tmp.path / "w");
  REQUIRE(first.has_value());
  const auto second = work_dir::open(tmp.path / "w");
  REQUIRE(second.has_error());
  CHECK(second.error().exit_code == 75);
  CHECK(second.error().message.find("pid " + std::to_string(::getpid())) != std::string::npos);
}

TEST_CASE(
    "a renamed work dir is the same worker; a copied one is another, which leaves its original's things "
    "alone") {
  const temporary_directory tmp;
  uuid instance;
  std::string worker_id;
  {
    const auto first = work_dir::open(tmp.path / "w");
    REQUIRE(first.has_value());
    instance = first->instance();
    worker_id = first->worker_id();
    write_line(tmp.path / "w/outbox/current", "cluster");
    write_line(tmp.path / "w/first_cluster", "cluster");
  }
  fs::rename(tmp.path / "w", tmp.path / "renamed");
  {
    const auto renamed = work_dir::open(tmp.path / "renamed");
    REQUIRE(renamed.has_value());
    CHECK(renamed->instance() == instance);
    CHECK(renamed->warning() == "");
  }
  fs::copy(tmp.path / "renamed", tmp.path / "copy", fs::copy_options::recursive);
  uuid second;
  {
    const auto copy = work_dir::open(tmp.path / "copy");
    REQUIRE(copy.has_value());
    second = copy->instance();
    CHECK(second != instance);
    CHECK(copy->worker_id() != worker_id);
    CHECK(copy->warning().find("new worker") != std::string::npos);
    CHECK(!fs::exists(tmp.path / "copy/outbox"));
    CHECK(fs::exists(tmp.path / "copy/aside" / to_string(instance) / "outbox/current"));
  }
  const auto again = work_dir::open(tmp.path / "copy");
  REQUIRE(again.has_value());
  CHECK(again->instance() == second);
  CHECK(again->warning() == "");
  const auto original = work_dir::open(tmp.path / "renamed");
  REQUIRE(original.has_value());
  CHECK(original->instance() == instance);
  CHECK(fs::exists(tmp.path / "renamed/outbox/current"));
}

TEST_CASE("an identity without a directory, of an older version, belongs to the one it is found in") {
  const temporary_directory tmp;
  const std::string old = "11111111-1111-4111-8111-111111111111";
  write_line(tmp.path / "w/instance", old);
  write_line(tmp.path / "w/worker_id", "worker-00000001");
  {
    const auto first = work_dir::open(tmp.path / "w");
    REQUIRE(first.has_value());
    CHECK(to_string(first->instance()) == old);
    CHECK(first->worker_id() == "worker-00000001");
  }
  fs::copy(tmp.path / "w", tmp.path / "copy", fs::copy_options::recursive);
  const auto copy = work_dir::open(tmp.path / "copy");
  REQUIRE(copy.has_value());
  CHECK(to_string(copy->instance()) != old);
}

TEST_CASE("without --work-dir the first unlocked default one is taken") {
  const temporary_directory tmp;
  const state_home home(tmp.path);
  const auto first = work_dir::open("");
  REQUIRE(first.has_value());
  CHECK(first->path() == tmp.path / "orchestrator/workers/1");
  auto second = work_dir::open("");
  REQUIRE(second.has_value());
  CHECK(second->path() == tmp.path / "orchestrator/workers/2");
  CHECK(second->instance() != first->instance());
}

TEST_CASE("a work dir that cannot be made is 73") {
  const temporary_directory tmp;
  write_line(tmp.path / "file", "x");
  const auto opened = work_dir::open(tmp.path / "file" / "w");
  REQUIRE(opened.has_error());
  CHECK(opened.error().exit_code == 73);
}

TEST_CASE("each cluster has its own directory and term; the first one has the work dir itself") {
  const temporary_directory tmp;
  auto dir = work_dir::open(tmp.path / "w");
  REQUIRE(dir.has_value());
  REQUIRE(!dir->enter_cluster(""));
  CHECK(dir->cluster_path() == dir->path());
  REQUIRE(!dir->adopt_cluster("one"));
  REQUIRE(!dir->store_term(7));
  REQUIRE(!dir->enter_cluster("two"));
  CHECK(dir->cluster_path() == dir->path() / "clusters/two");
  CHECK(fs::is_directory(dir->cluster_path()));
  CHECK(dir->term() == 0);
  REQUIRE(!dir->store_term(3));
  REQUIRE(!dir->enter_cluster("one"));
  CHECK(dir->cluster_path() == dir->path());
  CHECK(dir->term() == 7);
  REQUIRE(!dir->enter_cluster("two"));
  CHECK(dir->term() == 3);
}

TEST_CASE("the token of a coordinator of the same user is found, on loopback only") {
  const temporary_directory tmp;
  const state_home home(tmp.path / "state");
  write_line(tmp.path / "data" / "worker.token", "secret");
  write_line(tmp.path / "state/orchestrator/servers/127.0.0.1:8123/data_dir", (tmp.path / "data").string());
  CHECK(*find_worker_token("", server_at("127.0.0.1:8123")) == "secret");
  CHECK(*find_worker_token("", server_at("ws://localhost:8123")) == "secret");
  CHECK(find_worker_token("", server_at("127.0.0.1:8124"))->empty());
  write_line(tmp.path / "state/orchestrator/servers/10.0.0.1:8123/data_dir", (tmp.path / "data").string());
  CHECK(find_worker_token("", server_at("10.0.0.1:8123"))->empty());
  write_line(tmp.path / "mine", "given");
  CHECK(*find_worker_token(tmp.path / "mine", server_at("10.0.0.1:8123")) == "given");
  CHECK(find_worker_token(tmp.path / "absent", server_at("127.0.0.1:8123")).has_error());
}
