// Where a setting's value comes from, and what is said about one that cannot be.
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <unistd.h>

#include <doctest/doctest.h>
#include <orchestrator/cli/settings.hpp>

using namespace orchestrator;
using namespace orchestrator::cli;
namespace fs = std::filesystem;

namespace {

/// A settings file and environment variables that are gone with it.
class surroundings {
 public:
  surroundings() {
    std::string pattern = (fs::temp_directory_path() / "orchestrator-settings-XXXXXX").string();
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    dir_ = pattern;
    set("XDG_CONFIG_HOME", dir_.string());
  }
  ~surroundings() {
    for (const std::string& name : names_) ::unsetenv(name.c_str());
    fs::remove_all(dir_);
  }
  void set(const std::string& name, const std::string& value) {
    ::setenv(name.c_str(), value.c_str(), 1);
    names_.push_back(name);
  }
  std::string file(const std::string& text) {
    std::ofstream(path()) << text;
    return path().string();
  }
  fs::path path() const { return dir_ / "orchestrator.toml"; }

 private:
  fs::path dir_;
  std::vector<std::string> names_;
};

result<settings> merge(const std::map<std::string, std::vector<std::string>>& flags,
                       const std::string& config = "") {
  return merge_settings("server", server_settings(), flags, config);
}

}  // namespace

TEST_CASE("a flag wins over the environment, that over the file, and the file over the default") {
  surroundings here;
  const std::string file = here.file(
      "[server]\nlisten = \"127.0.0.1:1\"\nlease_ttl = \"3s\"\nstale_after = \"4s\"\n[client]\noutput = "
      "\"json\"\n");
  here.set("ORCHESTRATOR_LISTEN", "127.0.0.1:2");
  here.set("ORCHESTRATOR_LEASE_TTL", "5s");
  const auto merged = merge({{"listen", {"127.0.0.1:3"}}}, file);
  REQUIRE(merged.has_value());
  CHECK(merged->text("listen") == "127.0.0.1:3");
  CHECK(merged->values.at("listen").origin == "flag");
  CHECK(merged->duration("lease-ttl") == std::chrono::seconds{5});
  CHECK(merged->values.at("lease-ttl").origin == "ORCHESTRATOR_LEASE_TTL");
  CHECK(merged->duration("stale-after") == std::chrono::seconds{4});
  CHECK(merged->values.at("stale-after").origin == file + ":4");
  CHECK(merged->duration("ping-interval") == std::chrono::seconds{20});
  CHECK(merged->values.at("ping-interval").origin == "default");
}

TEST_CASE(
    "the file of --config is read before the one ORCHESTRATOR_CONFIG names, and that before the usual "
    "places") {
  surroundings usual, named, given;
  fs::create_directories(usual.path().parent_path() / "orchestrator");
  std::ofstream(usual.path().parent_path() / "orchestrator/orchestrator.toml")
      << "[server]\nretain_count = 1\n";
  usual.set("XDG_CONFIG_HOME", usual.path().parent_path().string());
  CHECK(merge({})->number("retain-count") == 1);
  usual.set("ORCHESTRATOR_CONFIG", named.file("[server]\nretain_count = 2\n"));
  CHECK(merge({})->number("retain-count") == 2);
  CHECK(merge({}, given.file("[server]\nretain_count = 3\n"))->number("retain-count") == 3);
}

TEST_CASE("a wrong value is told with where it stands and what it takes") {
  surroundings here;
  auto wrong = merge({{"auth", {"of"}}});
  REQUIRE(wrong.has_error());
  CHECK(wrong.error().detail == "--auth cannot be `of`: it takes one of token|off");
  here.set("ORCHESTRATOR_RETAIN_COUNT", "-1");
  wrong = merge({});
  REQUIRE(wrong.has_error());
  CHECK(wrong.error().detail ==
        "ORCHESTRATOR_RETAIN_COUNT: --retain-count cannot be `-1`: it takes a whole number from 1 to "
        "1000000000");
  here.set("ORCHESTRATOR_RETAIN_COUNT", "1");
  const std::string file = here.file("[server]\n\nlease_ttl = \"1s\"\n");
  wrong = merge({}, file);
  REQUIRE(wrong.has_error());
  CHECK(wrong.error().detail ==
        file + ":3: --lease-ttl cannot be `1s`: it takes a duration from 2s to 1d, like 90s, 30m or 1h30m");
}

TEST_CASE(
    "a typing error in any table of the file is refused with the nearest key, whichever role reads it") {
  surroundings here;
  auto wrong = merge({}, here.file("[worker]\nslot = 3\n"));
  REQUIRE(wrong.has_error());
  CHECK(wrong.error().detail == here.path().string() + ":2:1: unknown key `slot`");
  CHECK(wrong.error().hint == "did you mean `slots`?");
  wrong = merge({}, here.file("[sever]\n"));
  REQUIRE(wrong.has_error());
  CHECK(wrong.error().hint == "did you mean `server`?");
  wrong = merge({}, here.file("[server]\nlisten = \"x\"\nlisten = \"y\"\n"));
  REQUIRE(wrong.has_error());
  CHECK(wrong.error().detail.find(":3:") != std::string::npos);
}

TEST_CASE("a settings file that was named must be there") {
  surroundings here;
  const auto wrong = merge({}, "/no/such/orchestrator.toml");
  REQUIRE(wrong.has_error());
  CHECK(wrong.error().detail == "/no/such/orchestrator.toml: No such file or directory");
}

TEST_CASE("a list has several values: repeated flags, commas in the environment, an array in the file") {
  surroundings here;
  const std::string file = here.file("[server]\nallowed_host = [\"a\", \"b\"]\n");
  CHECK(merge({}, file)->list("allowed-host") == std::vector<std::string>{"a", "b"});
  here.set("ORCHESTRATOR_ALLOWED_HOST", "c,d");
  CHECK(merge({}, file)->list("allowed-host") == std::vector<std::string>{"c", "d"});
  CHECK(merge({{"allowed-host", {"e"}}}, file)->list("allowed-host") == std::vector<std::string>{"e"});
}
