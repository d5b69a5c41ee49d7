#include "report.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>

#include "statistics.h"

namespace cache_sync::bench {

Tsv::Tsv(const std::string &path, std::string command) : out_(path), command_(std::move(command)) {
    if (!out_)
        throw std::runtime_error("cannot write " + path);
    out_ << "command\tcell\tround\tcontender\tmetric\tvalue\tload\n";
}

void Tsv::add(const std::string &cell, int round, const std::string &contender, const std::string &metric,
              double value) {
    out_ << command_ << '\t' << cell << '\t' << round << '\t' << contender << '\t' << metric << '\t' << value
         << '\t' << machine_load() << std::endl;
}

void Table::print(const std::string &title) const {
    std::vector<std::size_t> widths(rows_[0].size(), 0);
    for (const auto &row : rows_)
        for (std::size_t column = 0; column < row.size(); ++column)
            widths[column] = std::max(widths[column], row[column].size());
    std::printf("\n%s\n\n", title.c_str());
    for (std::size_t n = 0; n < rows_.size(); ++n) {
        for (std::size_t column = 0; column < widths.size(); ++column)
            std::printf("| %-*s ", static_cast<int>(widths[column]),
                        column < rows_[n].size() ? rows_[n][column].c_str() : "");
        std::printf("|\n");
        if (n != 0)
            continue;
        for (const std::size_t width : widths)
            std::printf("|%s", std::string(width + 2, '-').c_str());
        std::printf("|\n");
    }
    std::fflush(stdout);
}

void progress(const std::string &text) {
    static const auto start = SteadyClock::now();
    std::fprintf(stderr, "%5.0f s  load %4.1f  %s\n", seconds_since(start), machine_load(), text.c_str());
}

double machine_load() {
    double load[1] = {0};
    return getloadavg(load, 1) == 1 ? load[0] : 0;
}

}  // namespace cache_sync::bench
