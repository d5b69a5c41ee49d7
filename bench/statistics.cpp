#include "statistics.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace cache_sync::bench {

double percentile(std::vector<double> values, double share) {
    if (values.empty())
        return 0;
    std::sort(values.begin(), values.end());
    const auto rank = static_cast<std::size_t>(std::ceil(share * static_cast<double>(values.size())));
    return values[std::clamp<std::size_t>(rank, 1, values.size()) - 1];
}

double median(const std::vector<double> &values) {
    return percentile(values, 0.5);
}

std::string fixed(double value, int decimals) {
    char text[64];
    std::snprintf(text, sizeof(text), "%.*f", decimals, value);
    return text;
}

std::string spread(const std::vector<double> &values, int decimals) {
    if (values.empty())
        return "-";
    if (values.size() == 1)
        return fixed(values[0], decimals);
    return fixed(percentile(values, 0), decimals) + " / " + fixed(median(values), decimals) + " / " +
           fixed(percentile(values, 1), decimals);
}

}  // namespace cache_sync::bench
