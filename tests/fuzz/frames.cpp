// Frames of the worker protocol, both directions: whatever is read must be written again as something that
// reads the same, alone, in frames of any size, and as a record of the outbox.
#include <orchestrator/protocol/codec.hpp>

#include "fuzz/fuzz.hpp"

using namespace orchestrator;
using namespace orchestrator::protocol;
using fuzz::must;

namespace {

template <class Message>
using decoder = result<std::vector<Message>> (*)(std::string_view, bool);

void check_record(const job_result& m) {
  const auto again = decode_job_result(encode(m));
  must(again && *again == m, "a result survives the outbox", encode(m));
}
void check_record(const execute_job& m) {
  const auto again = decode_execute_job(encode(m));
  must(again && *again == m, "a job survives the outbox", encode(m));
}
template <class Other>
void check_record(const Other&) {}

template <class Message>
void check_frames(const std::vector<Message>& messages, decoder<Message> decode, std::size_t max_bytes) {
  std::vector<Message> again;
  for (const std::string& frame : encode_frames(messages, true, max_bytes)) {
    auto part = decode(frame, true);
    must(part.has_value(), "a frame of ours is read", frame);
    must(part->size() == 1 || frame.size() <= max_bytes, "a frame of several messages stays in its bound",
         frame);
    for (Message& m : *part) again.push_back(std::move(m));
  }
  must(again == messages, "joining messages into frames keeps each of them, in order");
}

template <class Message>
void check(std::string_view text, decoder<Message> decode) {
  const auto messages = decode(text, true);
  const auto alone = decode(text, false);
  if (!messages) {
    must(!messages.error().detail.empty(), "a refusal says why");
    must(!alone, "whoever may send arrays may send what others may", text);
    return;
  }
  must(!messages->empty(), "a frame that is read has a message");
  if (alone) must(*alone == *messages, "a bare object is the same message to everybody", text);
  std::vector<Message> sendable;
  for (const Message& m : *messages) {
    if (const auto* bad = std::get_if<invalid_message>(&m.body)) {
      must(!bad->why.pointer.empty() && !bad->why.detail.empty(), "a bad field is named", text);
      continue;
    }
    std::string written;
    encode(m, written);
    const auto again = decode(written, false);
    must(again && again->size() == 1 && again->front() == m, "a message is read as it was written", written);
    std::visit([](const auto& body) { check_record(body); }, m.body);
    sendable.push_back(m);
  }
  check_frames(sendable, decode, 256);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = fuzz::as_text(data, size);
  check<worker_message>(text, decode_worker_frame);
  check<coordinator_message>(text, decode_coordinator_frame);
  return 0;
}
