// Time zones of the machine as plain tables. The coordinator's shell answers the engine's `load_zone` with
// one, and previews of schedules make calendars from one; the engine itself reads no files.
#pragma once

#include <string>

#include <orchestrator/base/result.hpp>
#include <orchestrator/model/schedule.hpp>

namespace orchestrator::server {

/// The offsets of an IANA zone from 1900 through 2400. Reads one small file the first time a name is asked
/// for; the process keeps what it read until zone_data_changed() has said so. Refused: a name that is not one
/// (a path, a POSIX rule) or that the system does not know; the hint is the nearest name it does.
result<zone_table> load_zone_table(const std::string& name);

/// True once after the system's zone data was replaced, as by an update of tzdata, and has been at rest from
/// one call to the next; zones are read anew from then on. Asked now and then by the one I/O thread.
bool zone_data_changed();

}  // namespace orchestrator::server
