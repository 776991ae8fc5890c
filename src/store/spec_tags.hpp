// Looks one tag up in the JSON text of a run specification, without decoding it: what list_runs filters by.
#pragma once

#include <string_view>

namespace orchestrator::store {

/// True if the object `text` has a member "tags", an object whose member `key` is the string `value`. False
/// on anything that is not JSON.
bool spec_has_tag(std::string_view text, std::string_view key, std::string_view value);

}  // namespace orchestrator::store
