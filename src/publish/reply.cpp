#include "publish/reply.h"

namespace cache_sync {

std::string_view text_of(const redisReply &reply) {
    if ((is_string(reply) || is_status(reply) || is_error(reply)) && reply.str != nullptr)
        return {reply.str, reply.len};
    return {};
}

bool has_code(const redisReply &reply, std::string_view code) {
    const std::string_view text = text_of(reply);
    return is_error(reply) && text.starts_with(code) &&
           (text.size() == code.size() || text[code.size()] == ' ');
}

bool is_unknown_command(const redisReply &reply) {
    return is_error(reply) && text_of(reply).starts_with("ERR unknown ");
}

bool is_function_missing(const redisReply &reply) {
    return is_error(reply) && text_of(reply).find("Function not found") != std::string_view::npos;
}

std::string readable_text(std::string_view text, std::string_view secret) {
    constexpr std::size_t kLongest = 240;
    std::string result(text.substr(0, 64 * 1024));
    if (!secret.empty())
        for (std::size_t at = 0; (at = result.find(secret, at)) != std::string::npos; at += 3)
            result.replace(at, secret.size(), "***");
    if (result.size() > kLongest) {
        result.resize(kLongest);
        result += "...";
    }
    for (char &c : result) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte >= 0x7f)
            c = '?';
        else if (byte < 0x20)
            c = ' ';
    }
    return result;
}

}  // namespace cache_sync
