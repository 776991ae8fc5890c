// Job files: TOML on disk to the job definitions that `job apply` and `job validate` send. The keys are those
// of the API, and the same decoder reads them; what it refuses is reported by file, line and column.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <boost/json/object.hpp>

#include <orchestrator/base/result.hpp>
#include <orchestrator/model/day_calendar.hpp>
#include <orchestrator/model/job.hpp>

namespace orchestrator::cli {

/// Where a value was written, both counted from 1.
struct text_place {
  std::size_t line = 1;
  std::size_t column = 1;
  bool operator==(const text_place&) const = default;
};

struct loaded_job {
  std::string file;
  job_definition definition;
  boost::json::object body;                  ///< what was written, for the API
  std::map<std::string, text_place> places;  ///< by JSON pointer: the key of a member, the start of an item
};

/// A named calendar, from the `[[calendars]]` of a file; a file may have those alone.
struct loaded_calendar {
  std::string file;
  day_calendar calendar;
  boost::json::object body;
  std::string pointer;                       ///< where in the file, as `/calendars/0`
  std::map<std::string, text_place> places;  ///< of the whole file
};

struct loaded_files {
  std::vector<loaded_job> jobs;
  std::vector<loaded_calendar> calendars;
};

/// All jobs and calendars of a file, or of the `*.toml` of a directory in the order of their names: all or
/// the first refusal, whose detail reads `file:line:column: key: message`.
result<loaded_files> load_job_files(const std::filesystem::path& path);

/// The same text for a refusal by the server of this job: its pointer becomes the place in the file.
std::string describe_at_place(const loaded_job& job, const refusal& why);
std::string describe_at_place(const loaded_calendar& calendar, const refusal& why);

}  // namespace orchestrator::cli
