#include "publish/walk.h"

#include <algorithm>

namespace cache_sync {
namespace {

struct Literal {
    std::string text;  // what every match begins with
    bool is_all;       // and everything that begins so matches
    std::string_view glob;
};

Literal literal_of(std::string_view glob) {
    Literal literal{{}, false, glob};
    for (std::size_t at = 0; at < glob.size(); ++at) {
        const char c = glob[at];
        if (c == '*' || c == '?' || c == '[') {
            literal.is_all = glob.substr(at).find_first_not_of('*') == glob.npos;
            break;
        }
        if (c == '\\' && at + 1 < glob.size())
            ++at;
        literal.text += glob[at];
    }
    return literal;
}

}  // namespace

// In order of their texts, a glob that covers others comes right before them: what lies between a text and a
// longer one that begins with it begins with it too.
std::vector<std::string_view> without_covered(const std::vector<std::string_view> &globs) {
    std::vector<Literal> literals;
    for (const std::string_view glob : globs)
        literals.push_back(literal_of(glob));
    std::stable_sort(literals.begin(), literals.end(), [](const Literal &a, const Literal &b) {
        return a.text != b.text ? a.text < b.text : a.is_all > b.is_all;
    });
    std::vector<std::string_view> kept;
    const Literal *cover = nullptr;
    for (const Literal &literal : literals) {
        if (cover != nullptr && literal.text.starts_with(cover->text))
            continue;
        kept.push_back(literal.glob);
        if (literal.is_all)
            cover = &literal;
    }
    return kept;
}

void WalkQueue::add(std::string_view glob, Ledger::Flight owner, std::uint64_t lsn, std::uint64_t batch) {
    const auto same = std::find_if(walks_.begin(), walks_.end(),
                                   [&](const Walk &walk) { return !walk.started && walk.glob == glob; });
    if (same == walks_.end()) {
        walks_.push_back({std::string(glob), {owner}, lsn, batch});
        return;
    }
    same->owners.push_back(owner);
    same->lsn = std::max(same->lsn, lsn);
    same->batch = std::max(same->batch, batch);
}

}  // namespace cache_sync
