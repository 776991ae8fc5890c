// Text, encodings and checksums. Everything here takes bytes from outside, so nothing may assume well-formed
// input. Called by the codecs, the store's outbox, the log and the job-file reader.
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include <fmt/format.h>

#include <orchestrator/base/text.hpp>

namespace orchestrator {
namespace {

constexpr std::size_t longest_guessed_word = 256;

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

// One pass over the text. A word exists from its first character or quote on: '' is a word, blanks are none.
class shell_splitter {
 public:
  explicit shell_splitter(std::string_view text) : rest_(text) {}

  std::optional<std::vector<std::string>> split() {
    while (!rest_.empty()) {
      if (!step(take())) return std::nullopt;
    }
    end_word();
    return std::move(words_);
  }

 private:
  char take() {
    const char c = rest_.front();
    rest_.remove_prefix(1);
    return c;
  }

  void add(char c) {
    word_ += c;
    in_word_ = true;
  }

  void end_word() {
    if (in_word_) words_.push_back(std::move(word_));
    word_.clear();
    in_word_ = false;
  }

  bool step(char c) {
    if (is_blank(c)) {
      end_word();
      return true;
    }
    if (c == '\'') return single_quoted();
    if (c == '"') return double_quoted();
    if (c != '\\') {
      add(c);
      return true;
    }
    if (rest_.empty()) return false;
    const char escaped = take();
    if (escaped != '\n') add(escaped);  // a backslash before a line's end joins the two lines
    return true;
  }

  bool single_quoted() {
    const std::size_t end = rest_.find('\'');
    if (end == std::string_view::npos) return false;
    word_ += rest_.substr(0, end);
    in_word_ = true;
    rest_.remove_prefix(end + 1);
    return true;
  }

  // Between double quotes a backslash is an ordinary character unless one of these follows.
  bool double_quoted() {
    in_word_ = true;
    while (!rest_.empty()) {
      const char c = take();
      if (c == '"') return true;
      if (c != '\\') {
        add(c);
        continue;
      }
      if (rest_.empty()) return false;
      const char escaped = take();
      if (escaped == '\n') continue;
      if (std::string_view{"$`\"\\"}.find(escaped) == std::string_view::npos) add('\\');
      add(escaped);
    }
    return false;
  }

  std::string_view rest_;
  std::vector<std::string> words_;
  std::string word_;
  bool in_word_ = false;
};

// Optimal string alignment: insertions, deletions, replacements, and swaps of two neighbours, which are one
// slip of the fingers and therefore count as one.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> two_above(b.size() + 1), above(b.size() + 1), row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) above[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, replaced});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], two_above[j - 2] + 1);
    }
    two_above.swap(above);
    above.swap(row);
  }
  return above[b.size()];
}

unsigned byte_at(std::string_view text, std::size_t i) { return static_cast<unsigned char>(text[i]); }

bool in_range(unsigned byte, unsigned low, unsigned high) { return byte >= low && byte <= high; }

// Bytes of the sequence that `lead` opens; 0 if no sequence starts with it.
std::size_t sequence_length(unsigned lead) {
  if (lead < 0x80) return 1;
  if (in_range(lead, 0xc2, 0xdf)) return 2;
  if (in_range(lead, 0xe0, 0xef)) return 3;
  if (in_range(lead, 0xf0, 0xf4)) return 4;
  return 0;
}

// Table 3-7 of the Unicode standard: the second byte's range excludes overlong forms, surrogates and
// everything above U+10FFFF.
bool may_follow(unsigned lead, std::size_t position, unsigned byte) {
  if (position == 1) {
    if (lead == 0xe0) return in_range(byte, 0xa0, 0xbf);
    if (lead == 0xed) return in_range(byte, 0x80, 0x9f);
    if (lead == 0xf0) return in_range(byte, 0x90, 0xbf);
    if (lead == 0xf4) return in_range(byte, 0x80, 0x8f);
  }
  return in_range(byte, 0x80, 0xbf);
}

// How a sequence at the front of a text looks.
struct utf8_sequence {
  std::size_t length = 0;  // bytes it has, or would have; 0 if ill-formed
  bool complete = false;   // false with a length: the text ends inside it
};

utf8_sequence first_sequence(std::string_view text) {
  const unsigned lead = byte_at(text, 0);
  const std::size_t length = sequence_length(lead);
  for (std::size_t i = 1; i < std::min(length, text.size()); ++i) {
    if (!may_follow(lead, i, byte_at(text, i))) return {};
  }
  return {.length = length, .complete = length != 0 && length <= text.size()};
}

// Most text is ASCII, which is passed over eight bytes at a time.
std::size_t ascii_prefix(std::string_view text) {
  std::size_t at = 0;
  for (std::uint64_t eight = 0; at + sizeof eight <= text.size(); at += sizeof eight) {
    std::memcpy(&eight, text.data() + at, sizeof eight);
    if ((eight & 0x8080'8080'8080'8080) != 0) break;
  }
  while (at < text.size() && byte_at(text, at) < 0x80) ++at;
  return at;
}

char32_t decode(std::string_view sequence) {
  if (sequence.size() == 1) return byte_at(sequence, 0);
  char32_t point = byte_at(sequence, 0) & (0x7fU >> sequence.size());
  for (std::size_t i = 1; i < sequence.size(); ++i) point = point << 6 | (byte_at(sequence, i) & 0x3fU);
  return point;
}

// Characters that a terminal acts on instead of showing: controls, line separators, and the marks that turn
// the direction of writing around.
bool is_unsafe(char32_t c) {
  return c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0x2028 || c == 0x2029 || (c >= 0x202a && c <= 0x202e) ||
         (c >= 0x2066 && c <= 0x2069);
}

constexpr std::string_view base64_digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

constexpr std::array<int, 256> make_base64_values() {
  std::array<int, 256> values{};
  values.fill(-1);
  for (std::size_t i = 0; i < base64_digits.size(); ++i) {
    values[static_cast<unsigned char>(base64_digits[i])] = static_cast<int>(i);
  }
  return values;
}
constexpr auto base64_values = make_base64_values();

// Slicing by eight: table k is the effect of a byte that k more bytes follow.
using crc_tables = std::array<std::array<std::uint32_t, 256>, 8>;
constexpr crc_tables make_crc_tables() {
  crc_tables tables{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78U : 0);
    tables[0][i] = crc;
  }
  for (std::size_t k = 1; k < 8; ++k) {
    for (std::size_t i = 0; i < 256; ++i) {
      const std::uint32_t before = tables[k - 1][i];
      tables[k][i] = before >> 8 ^ tables[0][before & 0xff];
    }
  }
  return tables;
}
constexpr crc_tables crc_of = make_crc_tables();
static_assert(std::endian::native == std::endian::little,
              "the outbox format and crc32c assume little endian");

}  // namespace

std::optional<std::vector<std::string>> split_shell_words(std::string_view text) {
  return shell_splitter{text}.split();
}

std::optional<std::string> nearest(std::string_view word, std::span<const std::string_view> candidates) {
  if (word.empty() || word.size() > longest_guessed_word) return std::nullopt;
  // Of three letters two others are another word.
  const std::size_t limit = word.size() <= 3 ? 1 : std::max<std::size_t>(2, word.size() / 3);
  std::optional<std::string> best;
  std::size_t best_distance = limit + 1;
  for (const std::string_view candidate : candidates) {
    const std::size_t longer = std::max(word.size(), candidate.size());
    if (longer - std::min(word.size(), candidate.size()) > limit) continue;
    const std::size_t distance = edit_distance(word, candidate);
    // A candidate with no letter in common is no correction, however short the two are.
    if (distance >= best_distance || distance >= longer) continue;
    best_distance = distance;
    best = std::string{candidate};
  }
  return best;
}

bool is_utf8(std::string_view text) {
  for (text.remove_prefix(ascii_prefix(text)); !text.empty(); text.remove_prefix(ascii_prefix(text))) {
    const utf8_sequence sequence = first_sequence(text);
    if (!sequence.complete) return false;
    text.remove_prefix(sequence.length);
  }
  return true;
}

std::size_t utf8_complete_prefix(std::string_view text) {
  // Only the last three bytes can belong to a sequence that goes on behind the end.
  for (std::size_t back = 1; back <= std::min<std::size_t>(3, text.size()); ++back) {
    const std::size_t at = text.size() - back;
    const unsigned byte = byte_at(text, at);
    if (in_range(byte, 0x80, 0xbf)) continue;
    const utf8_sequence sequence = first_sequence(text.substr(at));
    return sequence.length != 0 && !sequence.complete ? at : text.size();
  }
  return text.size();
}

std::string base64_encode(std::string_view bytes) {
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t have = std::min<std::size_t>(3, bytes.size() - i);
    unsigned group = 0;
    for (std::size_t k = 0; k < 3; ++k) group = group << 8 | (k < have ? byte_at(bytes, i + k) : 0);
    for (std::size_t k = 0; k < 4; ++k) {
      text += k <= have ? base64_digits[group >> (18 - 6 * k) & 0x3f] : '=';
    }
  }
  return text;
}

std::optional<std::string> base64_decode(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  std::size_t padding = 0;
  while (padding < 2 && padding < text.size() && text[text.size() - 1 - padding] == '=') ++padding;
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3);
  unsigned group = 0;
  for (std::size_t i = 0; i < text.size() - padding; ++i) {
    const int value = base64_values[byte_at(text, i)];
    if (value < 0) return std::nullopt;
    group = (group << 6 | static_cast<unsigned>(value)) & 0xffffff;
    if (i % 4 == 0) continue;
    const auto unused_bits = static_cast<unsigned>(6 - 2 * (i % 4));
    bytes += static_cast<char>(group >> unused_bits & 0xff);
  }
  // Bits that no byte needs must be zero, so that each sequence of bytes has exactly one text.
  const unsigned left_over = padding == 2 ? group & 0xf : padding == 1 ? group & 0x3 : 0;
  if (left_over != 0) return std::nullopt;
  return bytes;
}

std::uint32_t crc32c(std::string_view bytes, std::uint32_t crc) {
  crc = ~crc;
  const char* at = bytes.data();
  std::size_t left = bytes.size();
  for (; left >= 8; at += 8, left -= 8) {
    std::uint64_t block = 0;
    std::memcpy(&block, at, sizeof block);
    block ^= crc;
    crc = 0;
    for (std::size_t k = 0; k < 8; ++k) crc ^= crc_of[7 - k][block >> (8 * k) & 0xff];
  }
  for (; left > 0; ++at, --left) crc = crc >> 8 ^ crc_of[0][(crc ^ static_cast<unsigned char>(*at)) & 0xff];
  return ~crc;
}

std::uint64_t hash64(std::string_view bytes) {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  return hash;
}

bool is_valid_name(std::string_view name) {
  const auto is_alphanumeric = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  if (name.empty() || name.size() > 128 || !is_alphanumeric(name.front())) return false;
  return std::all_of(name.begin(), name.end(),
                     [&](char c) { return is_alphanumeric(c) || c == '_' || c == '.' || c == '-'; });
}

std::string printable(std::string_view text, std::size_t max_length) {
  constexpr std::string_view mark = "...";
  const std::size_t mark_length = std::min(mark.size(), max_length);
  std::string out;
  std::size_t room_for_mark = 0;  // the longest prefix of `out` that leaves room for the mark
  while (!text.empty()) {
    const utf8_sequence sequence = first_sequence(text);
    const std::string_view taken = text.substr(0, sequence.complete ? sequence.length : 1);
    text.remove_prefix(taken.size());
    if (sequence.complete && !is_unsafe(decode(taken))) {
      out += taken;
    } else {
      for (std::size_t i = 0; i < taken.size(); ++i) out += fmt::format("\\x{:02x}", byte_at(taken, i));
    }
    if (out.size() > max_length) return out.substr(0, room_for_mark).append(mark.substr(0, mark_length));
    if (out.size() <= max_length - mark_length) room_for_mark = out.size();
  }
  return out;
}

}  // namespace orchestrator
