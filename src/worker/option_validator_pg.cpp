// The validator of the foreign data wrapper: CREATE and ALTER SERVER, USER MAPPING .. OPTIONS.
#include <string>

#include "boundary.h"
#include "publish/endpoint.h"
#include "worker/target_catalog_pg.h"

extern "C" {
#include "access/reloptions.h"  // untransformRelOptions
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"  // defGetString
#include "fmgr.h"
#include "utils/builtins.h"  // parse_bool

PG_FUNCTION_INFO_V1(cache_sync_option_validator);
}

namespace cache_sync {
namespace {

constexpr char kInvalidValue[] = "HV024";  // ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE
constexpr char kInvalidName[] = "HV00D";   // ERRCODE_FDW_INVALID_OPTION_NAME
constexpr int kMaxTextLength = 512;

using Check = void (*)(const char *name, const char *value);

void check_url(const char *, const char *value) {
    const auto parsed = parse_endpoint(value);
    if (const auto *error = std::get_if<EndpointError>(&parsed))
        throw Failure(kInvalidValue, "invalid url of a cache_sync target: %s", error->message.c_str())
            .detail("The problem is at offset %zu of the url.", error->offset)
            .hint("%s", error->hint.empty() ? "Write redis://host:port/db or unix:/path?db=n."
                                            : error->hint.c_str());
}

// Goes into keys, channels or the protocol: no control characters, which no application means.
void check_text(const char *name, const char *value) {
    if (std::string_view(value).size() > kMaxTextLength)
        throw Failure(kInvalidValue, "option \"%s\" is too long", name)
            .detail("It may have at most %d bytes.", kMaxTextLength);
    for (const char *at = value; *at != '\0'; ++at)
        if (static_cast<unsigned char>(*at) < ' ' || *at == 0x7f)
            throw Failure(kInvalidValue, "option \"%s\" holds a control character", name)
                .detail("It is at offset %td.", at - value);
}

void check_name(const char *name, const char *value) {
    check_text(name, value);
    if (*value == '\0')
        throw Failure(kInvalidValue, "option \"%s\" must not be empty", name)
            .hint("Leave it out to have the default.");
}

void check_secret(const char *name, const char *value) {
    if (*value == '\0')
        throw Failure(kInvalidValue, "option \"%s\" must not be empty", name);
}

void check_timeout(const char *name, const char *value) {
    int milliseconds = 0;
    if (!call([&] { return parse_duration(value, &milliseconds); }) || milliseconds < 10 ||
        milliseconds > 600000)
        throw Failure(kInvalidValue, "invalid value for option \"%s\": \"%s\"", name, value)
            .hint("Write milliseconds or a number with a unit, from 10ms to 10min.");
}

void check_heartbeat(const char *name, const char *value) {
    if (std::string_view(value) != "0")
        check_timeout(name, value);
}

void check_boolean(const char *name, const char *value) {
    bool result;
    if (!parse_bool(value, &result))
        throw Failure(kInvalidValue, "invalid value for option \"%s\": \"%s\"", name, value)
            .hint("Write true or false.");
}

void check_mode(const char *name, const char *value) {
    if (std::string_view(value) != "standalone")
        throw Failure(kInvalidValue, "invalid value for option \"%s\": \"%s\"", name, value)
            .hint("The only mode is standalone.");
}

struct Option {
    const char *name;
    Oid catalogue;
    Check check;
};

constexpr Option kOptions[] = {
    {"url", ForeignServerRelationId, check_url},
    {"prefix", ForeignServerRelationId, check_text},
    {"source", ForeignServerRelationId, check_name},
    {"channel", ForeignServerRelationId, check_name},
    {"connect_timeout", ForeignServerRelationId, check_timeout},
    {"command_timeout", ForeignServerRelationId, check_timeout},
    {"heartbeat", ForeignServerRelationId, check_heartbeat},
    {"mode", ForeignServerRelationId, check_mode},
    {"paused", ForeignServerRelationId, check_boolean},
    {"user", UserMappingRelationId, check_secret},
    {"password", UserMappingRelationId, check_secret},
};

std::string names_for(Oid catalogue) {
    std::string names;
    for (const Option &option : kOptions)
        if (option.catalogue == catalogue)
            names.append(names.empty() ? "" : ", ").append(option.name);
    return names;
}

const char *kind_of(Oid catalogue) {
    return catalogue == UserMappingRelationId     ? "a user mapping"
           : catalogue == ForeignServerRelationId ? "a server"
                                                  : "this object";
}

// Does a secret stand where everybody may read it?
void refuse(const char *name, Oid catalogue) {
    const std::string names = names_for(catalogue);
    const std::string_view given(name);
    Failure failure(kInvalidName, "invalid option \"%s\" for %s of cache_sync", name, kind_of(catalogue));
    if (catalogue == ForeignServerRelationId && (given == "user" || given == "password"))
        failure.hint(
            "Everybody may read the options of a server. Put it into a user mapping: CREATE USER MAPPING FOR "
            "CURRENT_USER SERVER ... OPTIONS (user '...', password '...').");
    else if (names.empty())
        failure.hint("There are no valid options here.");
    else
        failure.hint("Valid options are: %s.", names.c_str());
    throw failure;
}

void check_option(const char *name, const char *value, Oid catalogue) {
    for (const Option &option : kOptions)
        if (option.catalogue == catalogue && std::string_view(option.name) == name)
            return option.check(name, value);
    refuse(name, catalogue);
}

}  // namespace
}  // namespace cache_sync

// option_validator(options text[], catalogue oid)
Datum cache_sync_option_validator(PG_FUNCTION_ARGS) {
    using namespace cache_sync;
    return entry([&]() -> Datum {
        List *options = call([&] { return untransformRelOptions(PG_GETARG_DATUM(0)); });
        const Oid catalogue = PG_GETARG_OID(1);
        bool has_url = false;
        for (int n = 0; n < list_length(options); ++n) {
            auto *option = static_cast<DefElem *>(list_nth(options, n));
            const char *value = call([&] { return defGetString(option); });
            check_option(option->defname, value, catalogue);
            has_url = has_url || std::string_view(option->defname) == "url";
        }
        if (catalogue == ForeignServerRelationId && !has_url)
            throw Failure("HV00J", "a server of cache_sync needs the option \"url\"")
                .hint("For example: OPTIONS (url 'redis://127.0.0.1:6379/0').");
        PG_RETURN_VOID();
    });
}
