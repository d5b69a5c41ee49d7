#include "process.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <stdexcept>

namespace cache_sync::bench {
namespace {

// Starts a program whose output goes to `output`, or is left alone if that is negative.
pid_t start(const std::vector<std::string> &command, int output) {
    std::vector<char *> arguments;
    for (const std::string &word : command)
        arguments.push_back(const_cast<char *>(word.c_str()));
    arguments.push_back(nullptr);
    const pid_t pid = fork();
    if (pid < 0)
        throw std::runtime_error(std::string("fork: ") + std::strerror(errno));
    if (pid != 0)
        return pid;
    if (output >= 0) {
        dup2(output, STDOUT_FILENO);
        dup2(output, STDERR_FILENO);
    }
    execvp(arguments[0], arguments.data());
    _exit(127);
}

}  // namespace

std::string run_program(const std::vector<std::string> &command) {
    int ends[2];
    if (pipe(ends) != 0)
        throw std::runtime_error(std::string("pipe: ") + std::strerror(errno));
    const pid_t pid = start(command, ends[1]);
    close(ends[1]);
    std::string output;
    char buffer[4096];
    for (ssize_t got; (got = read(ends[0], buffer, sizeof(buffer))) > 0;)
        output.append(buffer, static_cast<std::size_t>(got));
    close(ends[0]);
    int status = 0;
    waitpid(pid, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        throw std::runtime_error(command[0] + " failed:\n" + output);
    return output;
}

double cpu_seconds(pid_t pid) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/schedstat");
    double nanoseconds = 0;
    file >> nanoseconds;
    return nanoseconds / 1e9;
}

BackgroundProgram::BackgroundProgram(const std::vector<std::string> &command) : pid_(start(command, -1)) {}

BackgroundProgram::~BackgroundProgram() {
    kill(pid_, SIGTERM);
    waitpid(pid_, nullptr, 0);
}

StoppedProcess::StoppedProcess(pid_t pid) : pid_(pid) {
    if (kill(pid, SIGSTOP) != 0)
        throw std::runtime_error("cannot stop process " + std::to_string(pid) + ": " + std::strerror(errno));
}

StoppedProcess::~StoppedProcess() {
    kill(pid_, SIGCONT);
}

}  // namespace cache_sync::bench
