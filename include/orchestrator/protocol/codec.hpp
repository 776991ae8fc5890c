// JSON text <-> messages. Strict about JSON (depth, duplicate keys, NUL, numbers), lenient about unknown
// fields and types: an old peer must be able to talk to a newer one.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <orchestrator/base/result.hpp>
#include <orchestrator/protocol/message.hpp>

namespace orchestrator::protocol {

/// One frame: an object, or (if `batch_allowed`) an array of up to limits::batch_messages of them. A refusal
/// means the frame as a whole is not that ("bad_message"); a known type with bad fields is an invalid_message
/// in its place.
result<std::vector<worker_message>> decode_worker_frame(std::string_view text, bool batch_allowed);
result<std::vector<coordinator_message>> decode_coordinator_frame(std::string_view text, bool batch_allowed);

/// Appends one message as a JSON object. Key order is the protocol page's; for a legacy peer exactly its
/// keys.
void encode(const worker_message& m, std::string& out);
void encode(const coordinator_message& m, std::string& out);

/// Joins messages into frames of at most `max_bytes`: one object a frame, or arrays if `batch`. The answer to
/// a registration is always an object: before it no worker reads arrays.
std::vector<std::string> encode_frames(std::span<const worker_message> messages, bool batch,
                                       std::size_t max_bytes);
std::vector<std::string> encode_frames(std::span<const coordinator_message> messages, bool batch,
                                       std::size_t max_bytes);

/// The messages by themselves, for records of the worker's outbox.
std::string encode(const execute_job& m);
std::string encode(const job_result& m);
result<execute_job> decode_execute_job(std::string_view text);
result<job_result> decode_job_result(std::string_view text);

}  // namespace orchestrator::protocol
