// The bounds of this layer that nobody outside needs to know: sizes of queues, pauses and patience.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

#include <orchestrator/base/limits.hpp>

namespace orchestrator::process::limits {

using namespace std::chrono_literals;

// Socket between daemon and supervisor
inline constexpr std::size_t frame_bytes = 1024 * 1024;  ///< one message; argv, env and stdin fit with room
inline constexpr std::size_t client_queue_bytes = 64u
                                                  << 20;  ///< unsent starts in the daemon; beyond: refused
inline constexpr std::size_t link_queue_bytes =
    256 * 1024;  ///< unsent news in the supervisor; the rest waits as flags
inline constexpr std::size_t read_bytes = 64 * 1024;  ///< one read of a socket or pipe: one pipe's capacity
inline constexpr std::size_t client_reads_per_poll = 64;  ///< then the daemon's loop gets its turn
inline constexpr int starts_per_turn = 16;                ///< spawns between two looks at the pipes
inline constexpr std::size_t candidates = 8;              ///< connections that have not said hello yet
inline constexpr auto hello_patience = 5s;                ///< for the other side's first message
inline constexpr auto output_news_pause = 20ms;           ///< at most one `output` per stream in this time
inline constexpr std::size_t error_text = 512;            ///< characters of a sentence on the wire

// Table
inline constexpr std::size_t table_entries =
    2 * orchestrator::limits::slots_max;  ///< running and unforgotten

// Kill and drain
inline constexpr auto drain_patience = 2s;  ///< for pipes that a survivor holds after the main process ended
inline constexpr std::size_t drain_reads =
    16;  ///< of the last look: a pipe of 1 MiB, the largest unprivileged one
inline constexpr auto sweep_pause = 100ms;      ///< between looks for survivors after TERM
inline constexpr auto kill_sweep_pause = 20ms;  ///< between rounds of KILL
inline constexpr int sweep_share = 10;          ///< looking through /proc takes at most 1/10 of the time
inline constexpr auto kill_patience = 5s;       ///< of KILL rounds; then survivors are reported as leaked
inline constexpr auto stuck_pause = 1s;         ///< between rounds when even the main process does not die
inline constexpr std::size_t environ_bytes = 256 * 1024;  ///< read of one /proc/<pid>/environ

// Spool
inline constexpr std::uint64_t segment_bytes = 1u << 20;
inline constexpr std::uint64_t probed_segments = 16;  ///< looked for by name before the directory is listed

// Life
inline constexpr auto idle_life = 2s;  ///< without daemon, processes and ends: a restarting daemon finds us
inline constexpr auto unread_ends_life = 24h;         ///< without daemon, but with ends nobody has fetched
inline constexpr std::uint64_t log_bytes = 1u << 20;  ///< supervisor.log starts anew above this

}  // namespace orchestrator::process::limits
