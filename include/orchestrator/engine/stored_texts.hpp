// The texts that the store keeps for the engine without knowing their form: run specifications, jobs and
// named calendars. A start reads them by these functions (restore.cpp), and `server check`, `backup` and
// `restore` judge every row by the same ones.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <orchestrator/protocol/definitions.hpp>

namespace orchestrator::engine {

/// The tables of such texts, as people find them in the database.
inline constexpr std::string_view specs_table = "specs", jobs_table = "job_versions",
                                  calendars_table = "calendars";

result<run_spec> read_stored_spec(std::string_view text);
/// Also refused: the definition of another job than the row's.
result<job_definition> read_stored_job(std::string_view name, std::string_view text);
result<day_calendar> read_stored_calendar(std::string_view name, std::string_view text);

/// Why the text of a row cannot be read; nothing if it can. `name` is the job's or the calendar's.
std::optional<std::string> judge_stored_text(std::string_view table, std::string_view name,
                                             std::string_view text);

}  // namespace orchestrator::engine
