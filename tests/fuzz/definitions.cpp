// Job files and the JSON bodies of the API. Whatever is accepted must be written as a text that is accepted
// again and means the same; whatever is refused must be refused at a place and in words that can be shown.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include <boost/json/serialize.hpp>

#include <orchestrator/base/text.hpp>
#include <orchestrator/cli/job_file.hpp>
#include <orchestrator/engine/timetable.hpp>
#include <orchestrator/protocol/definitions.hpp>

#include "fuzz/fuzz.hpp"

using namespace orchestrator;
using namespace orchestrator::protocol;
using fuzz::must;

namespace {

const wall_time now = from_unix_ms(1'760'000'000'000);

void check_refusal(const refusal& why) {
  must(!why.detail.empty(), "a refusal says why");
  must(is_utf8(why.detail) && is_utf8(why.pointer) && is_utf8(why.hint), "a refusal can be shown",
       why.detail);
}

void check_job(const job_definition& job) {
  const json::object written = encode_job(job);
  const std::string text = write_json(written);
  const auto parsed = parse_json(text);
  must(parsed.has_value(), "a written job is JSON", text);
  const auto again = decode_job(*parsed);
  must(again && *again == job, "a job is read as it was written", text);
  must(write_json(encode_job(*again)) == text, "the text of a job is stable", text);
  const std::string spec_text = encode_spec(job.spec);
  const auto spec = decode_spec(spec_text);
  must(spec && *spec == job.spec, "a specification survives the store", spec_text);
  if (!job.schedule) return;
  must(!describe(*job.schedule).empty(), "a schedule has words");
  if (const auto bad = engine::check_schedule(*job.schedule)) check_refusal(*bad);
}

void check_submission(const submission& s) {
  const std::string text = write_json(encode_submission(s));
  const auto parsed = parse_json(text);
  must(parsed.has_value(), "a written submission is JSON", text);
  const auto again = decode_submission(*parsed, now);
  must(again && *again == s, "a submission is read as it was written", text);
}

void check_json(std::string_view text) {
  const auto value = parse_json(text);
  if (!value) return check_refusal(value.error());
  const std::string written = write_json(*value);
  const auto again = parse_json(written);
  must(again && write_json(*again) == written, "the text of a JSON value is stable", written);
  if (const auto job = decode_job(*value)) {
    check_job(*job);
  } else {
    check_refusal(job.error());
  }
  if (const auto s = decode_submission(*value, now)) {
    check_submission(*s);
  } else {
    check_refusal(s.error());
  }
}

/// A file in memory, by the path under which it can be opened.
class memory_file {
 public:
  explicit memory_file(std::string_view text) : fd_(::memfd_create("job.toml", MFD_CLOEXEC)) {
    must(::write(fd_, text.data(), text.size()) == static_cast<ssize_t>(text.size()), "memory takes a file");
  }
  ~memory_file() { ::close(fd_); }
  memory_file(const memory_file&) = delete;
  memory_file& operator=(const memory_file&) = delete;
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  int fd_;
};

void check_toml(std::string_view text) {
  const memory_file file(text);
  const auto jobs = cli::load_job_files(file.path());
  if (!jobs) {
    check_refusal(jobs.error());
    must(jobs.error().detail.starts_with(file.path() + ":"), "a refusal names the file", jobs.error().detail);
    return;
  }
  must(jobs->size() == 1, "a file is one job");
  const cli::loaded_job& job = jobs->front();
  check_job(job.definition);
  const auto sent = decode_job(job.body);
  must(sent && *sent == job.definition, "the server reads the job that was shown here");
  for (const auto& [pointer, place] : job.places) {
    must(place.line > 0 && place.column > 0, "places count from 1");
    const std::string shown = cli::describe_at_place(job, {errc::bad_field, "why", pointer, ""});
    must(is_utf8(shown), "a place can be shown", shown);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = fuzz::as_text(data, size);
  check_json(text);
  check_toml(text);
  return 0;
}
