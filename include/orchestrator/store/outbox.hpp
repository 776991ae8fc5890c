// The worker's durable outbox: append-only segments of records with length and CRC32C, scoped by cluster.
// A torn tail is cut and reported. Nothing is fsynced: a killed daemon leaves the page cache intact, and a
// power cut ends the processes too. What a record means is the agent's business; here they are bytes under a
// key.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <orchestrator/base/result.hpp>

namespace orchestrator::store {

struct outbox_record {
  std::uint64_t lease = 0;  ///< entries of one lease are dropped together
  std::string kind;         ///< chosen by the agent, at most 32 bytes
  std::string body;
  bool operator==(const outbox_record&) const = default;
};

struct outbox_recovery {
  std::vector<outbox_record> records;   ///< live ones, in the order written
  std::uint64_t highest_lease = 0;      ///< ever written to this outbox, dropped ones included
  std::uint64_t torn_bytes = 0;         ///< cut off the tail of the last segment
  std::uint64_t quarantined_bytes = 0;  ///< unreadable in the middle of a segment, set aside
};

class outbox {
 public:
  virtual ~outbox() = default;
  /// Returns after write(2) took all of it. A short or failed write is an error_code; the file is cut back to
  /// the last whole record.
  virtual boost::system::error_code append(const outbox_record& record) = 0;
  /// Everything of this lease is done: its records are not recovered again. Segments without live records are
  /// deleted.
  virtual boost::system::error_code drop(std::uint64_t lease) = 0;
  virtual std::size_t bytes() const = 0;
  /// Continues in a fresh, empty outbox of that cluster, setting the present one aside under its cluster's
  /// name; a cluster seen before gets its old outbox back.
  virtual boost::system::result<outbox_recovery> switch_cluster(const std::string& cluster) = 0;
};

/// Opens `dir`/outbox for the cluster it last served (empty at first).
boost::system::result<std::pair<std::unique_ptr<outbox>, outbox_recovery>> open_outbox(
    const std::filesystem::path& dir, std::string& cluster_out);

}  // namespace orchestrator::store
