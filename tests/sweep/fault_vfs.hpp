// A layer over SQLite's file system that fails chosen operations and remembers what a power cut would take
// away. It lies below the real store: nothing above knows of it. Its state is in memory that is shared
// between the process that works and the one that judges, because the first may end at any operation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace orchestrator::sweep {

enum class fault : std::uint8_t {
  none,
  eio,          ///< any change of a file: it fails and nothing is written
  enospc,       ///< a write: it fails and nothing is written
  short_write,  ///< a write: half of it is written, the rest finds no room
  fsync_eio,    ///< an fsync: what it was for will never be on disk, whatever later ones say
  kill,         ///< the process ends here; the page cache stays
  cut,          ///< power ends here; what was not synced is gone
  torn,         ///< power ends here; any sectors of what was not synced are gone
};
inline constexpr int fault_kinds = 8;
const char* to_string(fault f);
bool ends_the_process(fault f);

/// Which files count.
enum class half : std::uint8_t { main, output, backup };
inline constexpr int halves = 3;
const char* to_string(half h);

enum class operation : std::uint8_t { none, write, sync, truncate, remove, create, index };
const char* to_string(operation o);

struct plan {
  fault kind = fault::none;
  bool second = false;  ///< errors: all that follow fail too; ends: after the operation instead of before it
  half target = half::main;
  std::uint32_t n = 0;  ///< counted from 1 since arm()
};

inline constexpr std::size_t most_files = 24;
inline constexpr std::size_t log_bytes = std::size_t{64} << 20;

/// One worker's disk. Lives in shared memory; `log` holds what was there before each write.
struct shared_disk {
  plan now;
  bool armed;
  bool healed;
  bool fired;
  bool remembers;     ///< a power cut may come
  operation hit;      ///< the operation that was made to fail
  bool hit_database;  ///< of a database or its log, not of a rollback journal
  std::uint32_t changes[halves], writes[halves], syncs[halves];
  char names[most_files][256];
  std::size_t files;
  std::size_t used;
  bool overflown;
  char log[log_bytes];
};

inline constexpr int crash_exit = 99;

/// Makes the layer SQLite's default. Once, before the first database is opened.
void install(shared_disk& disk);
/// Forgets the last case.
void reset(shared_disk& disk, const plan& next);
void arm(shared_disk& disk);
/// The disk works again.
void heal(shared_disk& disk);
/// No power cut comes any more: what one would take away need not be known.
void forget(shared_disk& disk);
/// How often an operation that this fault can hit came up since arm().
std::uint32_t chances(const shared_disk& disk, fault kind, half target);
/// What a power cut leaves. With a seed, each sector of what was not synced is there or not.
void cut_power(shared_disk& disk, std::optional<std::uint64_t> torn_seed);

}  // namespace orchestrator::sweep
