// Job files: what they become, and that every refusal names file, line, column and key.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include <doctest/doctest.h>

#include <orchestrator/cli/job_file.hpp>

using namespace orchestrator;
using namespace orchestrator::cli;
namespace fs = std::filesystem;

namespace {

/// A directory of its own that is gone after the test.
class temp_directory {
 public:
  temp_directory() {
    std::string pattern = (fs::temp_directory_path() / "job_file_test.XXXXXX").string();
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~temp_directory() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  temp_directory(const temp_directory&) = delete;
  temp_directory& operator=(const temp_directory&) = delete;

  fs::path write(const std::string& name, std::string_view text) const {
    std::ofstream{path_ / name, std::ios::binary} << text;
    return path_ / name;
  }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

/// The refusal of a file with this text, without the directory before the file's name.
std::string refused(std::string_view text) {
  const temp_directory directory;
  const auto jobs = load_job_files(directory.write("job.toml", text));
  if (jobs) return "taken";
  const std::string& detail = jobs.error().detail;
  const std::string before = directory.path().string() + "/";
  return detail.starts_with(before) ? detail.substr(before.size()) : "no file: " + detail;
}

constexpr std::string_view nightly = R"(name = "nightly-report"
script = "jobs/report.py"
args = "--day yesterday"
timeout = "30m"

[schedule]
cron = "30 2 * * *"
time_zone = "Asia/Hong_Kong"

[retry]
max_attempts = 3
backoff = "10s"

[requires]
labels = { os = "linux" }
)";

}  // namespace

TEST_CASE("a job file becomes the job it describes") {
  const temp_directory directory;
  const auto jobs = load_job_files(directory.write("nightly.toml", nightly));
  if (!jobs) FAIL(jobs.error().detail);
  REQUIRE(jobs->jobs.size() == 1);
  const loaded_job& job = jobs->jobs.front();
  CHECK(job.file == (directory.path() / "nightly.toml").string());
  CHECK(job.definition.name == "nightly-report");
  CHECK(job.definition.spec.script == "jobs/report.py");
  CHECK(job.definition.spec.timeout == std::chrono::minutes{30});
  CHECK(job.definition.spec.retry.max_attempts == 3);
  CHECK(job.definition.spec.required_labels.at("os") == "linux");
  REQUIRE(job.definition.schedule);
  CHECK(job.definition.schedule->cron == "30 2 * * *");
  CHECK(job.definition.schedule->time_zone == "Asia/Hong_Kong");
  CHECK(job.body.at("args") == "--day yesterday");
  CHECK(job.places.at("/schedule/cron") == text_place{7, 1});
  CHECK(job.places.at("/requires/labels/os") == text_place{15, 12});
}

TEST_CASE("a directory gives its TOML files in the order of their names") {
  const temp_directory directory;
  directory.write("b.toml", "name = \"one\"\ncommand = [\"true\"]\n");
  directory.write("a.toml", "name = \"two\"\ncommand = [\"true\"]\n");
  directory.write("notes.txt", "not a job");
  const auto jobs = load_job_files(directory.path());
  REQUIRE(jobs.has_value());
  REQUIRE(jobs->jobs.size() == 2);
  CHECK(jobs->jobs.at(0).definition.name == "two");
  CHECK(jobs->jobs.at(1).definition.name == "one");
}

TEST_CASE("one bad file in a directory refuses all of them") {
  const temp_directory directory;
  directory.write("a.toml", "name = \"one\"\ncommand = [\"true\"]\n");
  const std::string bad = directory.write("b.toml", "name = \"two\"\ncomand = [\"true\"]\n").string();
  const auto jobs = load_job_files(directory.path());
  REQUIRE(jobs.has_error());
  CHECK(jobs.error().detail ==
        bad + ":2:1: comand: there is no key \"comand\" here (did you mean \"command\"?)");
  CHECK(jobs.error().code == errc::unknown_field);
  CHECK(jobs.error().pointer == "/comand");
}

TEST_CASE("the same name in two files is refused") {
  const temp_directory directory;
  const std::string first = directory.write("a.toml", "name = \"one\"\ncommand = [\"true\"]\n").string();
  const std::string second = directory.write("b.toml", "command = [\"true\"]\nname = \"one\"\n").string();
  const auto jobs = load_job_files(directory.path());
  REQUIRE(jobs.has_error());
  CHECK(jobs.error().code == errc::conflict);
  CHECK(jobs.error().detail.starts_with(second + ":2:1: name: the job \"one\" is in " + first + " already"));
}

TEST_CASE("refusals name line, column and key") {
  CHECK(refused("name = \"x\"\ncommand = [\"a\"]\n[schedule]\n  crom = \"* * * * *\"\n")
            .starts_with(
                "job.toml:4:3: schedule.crom: there is no key \"crom\" here (did you mean \"cron\"?)"));
  CHECK(refused("name = \"x\"\ncommand = [\"a\", 5]\n").starts_with("job.toml:2:17: command.1: "));
  CHECK(refused("name = \"x\"\ncommand = [\"a\"]\nretry.max_attempts = 0\n")
            .starts_with("job.toml:3:7: retry.max_attempts: "));
  CHECK(refused("command = [\"a\"]\n").starts_with("job.toml:1:1: name: "));
  CHECK(refused("").starts_with("job.toml:1:1: name: "));
}

TEST_CASE("a mistake in the TOML itself is refused where it stands") {
  CHECK(refused("name = \"x\"\ncommand = [\"a\"\nretry = 1\n").starts_with("job.toml:3:"));
  CHECK(refused("name = \"x\"\nname = \"y\"\n").starts_with("job.toml:2:"));
  CHECK(refused("name = x\n").starts_with("job.toml:1:8: "));
  CHECK(refused(std::string_view{"name = \"a\0b\"\n", 13}).starts_with("job.toml:1:"));
  CHECK(refused("name = \"\xff\"\n").starts_with("job.toml:1:"));
}

TEST_CASE("TOML values that JSON has no word for are refused with their place") {
  CHECK(refused("name = \"x\"\nat = 2026-01-31T02:30:00Z\n")
            .starts_with("job.toml:2:6: at: no key of a job takes a TOML date"));
  CHECK(refused("name = \"x\"\n[schedule]\ndaily = 02:30:00\n")
            .starts_with("job.toml:3:9: schedule.daily: no key"));
  CHECK(refused("name = \"x\"\nday = 2026-01-31\n").starts_with("job.toml:2:7: day: no key"));
  CHECK(refused("name = \"x\"\npriority = nan\n").starts_with("job.toml:2:12: priority: inf and nan"));
  CHECK(refused("name = \"x\"\npriority = -inf\n").starts_with("job.toml:2:12: priority: inf and nan"));
}

TEST_CASE("keys with dots and slashes keep their places") {
  CHECK(refused("name = \"x\"\ncommand = [\"a\"]\n[tags]\n\"a/b~c\" = 1\n")
            .starts_with("job.toml:4:1: tags.a/b~c: "));
}

TEST_CASE("files that are too large, too deep or no files are refused") {
  CHECK(refused("# " + std::string(1024 * 1024, 'x')).find("is larger than 1048576 bytes") !=
        std::string::npos);
  std::string deep = "a";
  for (int i = 0; i < 1'000; ++i) deep += ".a";
  CHECK(refused(deep + " = 1\n").find("nested more than 32 deep") != std::string::npos);
  for (int i = 0; i < 400'000; ++i) deep += ".a";
  CHECK(refused("\n[" + deep + "]\n").starts_with("job.toml:2:1: more than 1024 dots on one line"));
  CHECK(refused("a = " + std::string(2'000, '[') + std::string(2'000, ']')).starts_with("job.toml:1:"));
  const temp_directory directory;
  CHECK(load_job_files(directory.path() / "missing.toml").error().code == errc::not_found);
  CHECK(load_job_files(directory.path()).error().detail.ends_with("has no *.toml file"));
  CHECK(load_job_files("/dev/zero").error().detail == "/dev/zero: is not a file");
}

TEST_CASE("a refusal by the server is told with the place in the file") {
  const temp_directory directory;
  const auto jobs = load_job_files(directory.write("nightly.toml", nightly));
  REQUIRE(jobs.has_value());
  const refusal why{.code = errc::bad_field,
                    .detail = "cron, position 1: field 1 (minute): 60 is outside 0-59",
                    .pointer = "/schedule/cron",
                    .hint = {}};
  CHECK(describe_at_place(jobs->jobs.front(), why) ==
        (directory.path() / "nightly.toml").string() +
            ":7:1: schedule.cron: cron, position 1: field 1 (minute): 60 is outside 0-59");
  CHECK(describe_at_place(jobs->jobs.front(),
                          {.code = errc::bad_field, .detail = "x", .pointer = "/schedule/gap", .hint = {}})
            .find(":6:2: schedule.gap: x") != std::string::npos);
}

TEST_CASE("a file may have calendars, beside its job or alone") {
  const temp_directory directory;
  directory.write("a.toml", R"(name = "nightly"
command = ["true"]
[schedule]
daily = "02:30"
exclude = ["holidays"]
[[calendars]]
name = "holidays"
days = ["12-25"]
)");
  directory.write("b.toml", "[[calendars]]\nname = \"weekends\"\ndays = [\"sat\", \"sun\"]\n");
  const auto all = load_job_files(directory.path());
  if (!all) FAIL(all.error().detail);
  REQUIRE(all->jobs.size() == 1);
  REQUIRE(all->calendars.size() == 2);
  CHECK(all->jobs[0].definition.schedule->exclude == std::vector<std::string>{"holidays"});
  CHECK(all->calendars[0].calendar.yearly == std::vector<std::pair<int, int>>{{12, 25}});
  CHECK(all->calendars[1].calendar.weekdays == 0b1000001);
}

TEST_CASE("a calendar's mistakes are refused at their place") {
  CHECK(refused("[[calendars]]\nname = \"x\"\ndays = [\"sat\",\n \"13-01\"]\n")
            .find("job.toml:4:2: calendars.0.days.1: ") == 0);
  CHECK(refused("[[calendars]]\nname = \"x\"\ndais = []\n").find("job.toml:3:1: calendars.0.dais: ") == 0);
  CHECK(refused("[[calendars]]\nname = \"a b\"\ndays = []\n").find("job.toml:2:1: calendars.0.name: ") == 0);
  CHECK(refused("calendars = 1\n").find("job.toml:1:1: calendars: ") == 0);
  CHECK(refused("[[calendars]]\nname = \"x\"\ndays = []\n[[calendars]]\nname = \"x\"\ndays = []\n")
            .find("job.toml:5:1: calendars.1.name: the calendar \"x\" is in ") == 0);
}
