// Tokens: how they come to be, and who gets in with which.
#include "auth.hpp"

#include <filesystem>
#include <fstream>

#include <sys/stat.h>
#include <unistd.h>

#include <doctest/doctest.h>
#include <orchestrator/base/text.hpp>
#include <orchestrator/net/local_servers.hpp>

using namespace orchestrator;
using namespace orchestrator::server;
namespace fs = std::filesystem;

namespace {

class data_dir {
 public:
  data_dir() {
    std::string pattern = (fs::temp_directory_path() / "orchestrator-auth-XXXXXX").string();
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    path = pattern;
  }
  ~data_dir() { fs::remove_all(path); }
  std::string token(const char* kind) const { return net::first_line(path / (std::string(kind) + ".token")); }
  fs::path path;
};

net::http_request with(const std::string& authorization) {
  net::http_request r;
  if (!authorization.empty()) r.headers["authorization"] = authorization;
  return r;
}

}  // namespace

TEST_CASE("two tokens are made at the first start, for their owner's eyes only, and kept") {
  data_dir dir;
  std::ofstream(dir.path / "admin.token.new") << "or";  // a start that was killed while it wrote
  REQUIRE(authenticator::from_files(dir.path).has_value());
  const std::string admin = dir.token("admin"), worker = dir.token("worker");
  CHECK(admin.size() >= 32);
  CHECK(admin != worker);
  for (const char* name : {"admin.token", "worker.token"}) {
    struct stat info{};
    REQUIRE(::stat((dir.path / name).c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
  }
  REQUIRE(authenticator::from_files(dir.path).has_value());
  CHECK(dir.token("admin") == admin);
}

TEST_CASE("a token file that others can read, that is a link, or that is too short is refused") {
  data_dir dir;
  REQUIRE(authenticator::from_files(dir.path).has_value());
  const fs::path file = dir.path / "admin.token";
  ::chmod(file.c_str(), 0640);
  auto refused = authenticator::from_files(dir.path);
  REQUIRE(refused.has_error());
  CHECK(refused.error().detail.find("0600") != std::string::npos);
  fs::rename(file, dir.path / "elsewhere");
  ::chmod((dir.path / "elsewhere").c_str(), 0600);
  fs::create_symlink(dir.path / "elsewhere", file);
  refused = authenticator::from_files(dir.path);
  REQUIRE(refused.has_error());
  CHECK(refused.error().detail.find("not a regular file") != std::string::npos);
  fs::remove(file);
  std::ofstream(file) << "short\n";
  ::chmod(file.c_str(), 0600);
  refused = authenticator::from_files(dir.path);
  REQUIRE(refused.has_error());
  CHECK(refused.error().detail.find("32 characters") != std::string::npos);
}

TEST_CASE("the API takes the admin token only, as Bearer") {
  data_dir dir;
  const auto auth = authenticator::from_files(dir.path);
  REQUIRE(auth.has_value());
  const std::string admin = dir.token("admin"), worker = dir.token("worker");
  CHECK_FALSE(auth->check_api(with("Bearer " + admin)).has_value());
  CHECK_FALSE(auth->check_api(with("bearer " + admin)).has_value());
  CHECK(auth->check_api(with("Bearer " + worker))->code == errc::forbidden);
  for (const std::string& wrong : {std::string(), std::string("Bearer"), std::string("Bearer "),
                                   "Bearer  " + admin, "Bearer " + admin + "x", "Bearer " + admin.substr(1),
                                   "Basic " + base64_encode("worker:" + admin), admin}) {
    CAPTURE(wrong.size());
    const auto refused = auth->check_api(with(wrong));
    REQUIRE(refused.has_value());
    CHECK(refused->code == errc::unauthorised);
  }
}

TEST_CASE("the worker endpoint takes the worker token, as Bearer or as the password of the user worker") {
  data_dir dir;
  const auto auth = authenticator::from_files(dir.path);
  REQUIRE(auth.has_value());
  const std::string admin = dir.token("admin"), worker = dir.token("worker");
  CHECK_FALSE(auth->check_worker(with("Bearer " + worker)).has_value());
  CHECK_FALSE(auth->check_worker(with("Basic " + base64_encode("worker:" + worker))).has_value());
  CHECK(auth->check_worker(with("Bearer " + admin))->code == errc::forbidden);
  for (const std::string& wrong :
       {std::string(), "Basic " + base64_encode("admin:" + worker), "Basic " + base64_encode(worker),
        std::string("Basic ???"), "Basic " + base64_encode("worker:" + admin)}) {
    CAPTURE(wrong.size());
    const auto refused = auth->check_worker(with(wrong));
    REQUIRE(refused.has_value());
    CHECK(refused->code == errc::unauthorised);
  }
}

TEST_CASE("with authentication off everybody on loopback gets in") {
  const authenticator off = authenticator::off();
  CHECK_FALSE(off.check_api(with("")).has_value());
  CHECK_FALSE(off.check_worker(with("")).has_value());
}
