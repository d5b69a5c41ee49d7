#include "capture/render_pg.h"

#include "pg.h"

extern "C" {
#include "access/detoast.h"  // detoast_attr_slice
#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"  // pg_lltoa
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"  // lookup_rowtype_tupdesc
#include "utils/uuid.h"
}

namespace cache_sync {
namespace {

using Method = ValueRenderer::Method;

struct KnownOutput {
    PGFunction function;
    Method method;
};

// By output function, so that domains and types such as citext are fast too.
constexpr KnownOutput kKnownOutputs[] = {
    {int2out, Method::int2},    {int4out, Method::int4},   {int8out, Method::int8}, {oidout, Method::oid},
    {boolout, Method::boolean}, {uuid_out, Method::uuid},  {nameout, Method::name}, {textout, Method::text},
    {varcharout, Method::text}, {bpcharout, Method::text},
};

// Types whose text holds nothing that needs encoding, or is told apart by its form: numbers, dates,
// addresses.
bool is_plain(Oid type) {
    switch (type) {
        case INT2OID:
        case INT4OID:
        case INT8OID:
        case OIDOID:
        case FLOAT4OID:
        case FLOAT8OID:
        case NUMERICOID:
        case BOOLOID:
        case UUIDOID:
        case DATEOID:
        case TIMEOID:
        case TIMETZOID:
        case TIMESTAMPOID:
        case TIMESTAMPTZOID:
        case INTERVALOID:
        case INETOID:
        case CIDROID:
        case MACADDROID:
        case MACADDR8OID:
        case BITOID:
        case VARBITOID:
        case BYTEAOID:
        case XIDOID:
        case XID8OID:
        case CIDOID:
        case TIDOID:
        case PG_LSNOID:
            return true;
        default:
            return false;
    }
}

bool depends_on_nothing(Oid type) {
    switch (type) {
        case NUMERICOID:
        case INETOID:
        case CIDROID:
        case MACADDROID:
        case MACADDR8OID:
        case BITOID:
        case VARBITOID:
        case XIDOID:
        case XID8OID:
        case PG_LSNOID:
        case JSONOID:
        case JSONBOID:
        case XMLOID:
        case CHAROID:
            return true;
        default:
            return false;
    }
}

// The types whose text names an object as it would have to be written under the current search_path.
bool names_an_object(Oid type) {
    switch (type) {
        case REGPROCOID:
        case REGPROCEDUREOID:
        case REGOPEROID:
        case REGOPERATOROID:
        case REGCLASSOID:
        case REGTYPEOID:
        case REGCONFIGOID:
        case REGDICTIONARYOID:
        case REGCOLLATIONOID:
            return true;
        default:
            return false;
    }
}

// Calls fn with each type that values of `type` are made of, and with `type` itself if it is made of nothing
// else.
template <typename Fn>
void for_each_part(Oid type, Fn &&fn) {
    check_stack_depth();
    type = getBaseType(type);
    const Oid element = get_element_type(type);
    const Oid range = get_multirange_range(type);
    if (OidIsValid(element)) {
        for_each_part(element, fn);
    } else if (OidIsValid(range)) {
        for_each_part(get_range_subtype(range), fn);
    } else if (type_is_range(type)) {
        for_each_part(get_range_subtype(type), fn);
    } else if (OidIsValid(get_typ_typrelid(type))) {
        TupleDesc row = lookup_rowtype_tupdesc_copy(type, -1);
        for (int n = 0; n < row->natts; ++n)
            if (!TupleDescAttr(row, n)->attisdropped)
                for_each_part(TupleDescAttr(row, n)->atttypid, fn);
    } else {
        fn(type);
    }
}

unsigned pins_of(Oid type) {
    // A row type's columns may change while the compiled rule lives.
    unsigned pins = type_is_rowtype(type) ? kPinFormats | kPinSearchPath : kPinNothing;
    for_each_part(type, [&](Oid part) {
        if (names_an_object(part) || (part >= FirstNormalObjectId && !type_is_enum(part)))
            pins |= kPinFormats | kPinSearchPath;
        else if (!depends_on_nothing(part) && !type_is_enum(part))
            pins |= kPinFormats;
    });
    return pins;
}

void append_plain(std::string_view text, TouchText &to) {
    to.append(text);
}

template <typename Write>
void append_number(TouchText &to, Write &&write) {
    if (char *const space = to.space(32))
        to.add_written(static_cast<std::size_t>(write(space)));
}

void append_uuid(const pg_uuid_t &uuid, TouchText &to) {
    constexpr char digits[] = "0123456789abcdef";
    char text[36];
    char *end = text;
    for (int n = 0; n < UUID_LEN; ++n) {
        if (n == 4 || n == 6 || n == 8 || n == 10)
            *end++ = '-';
        *end++ = digits[uuid.data[n] >> 4];
        *end++ = digits[uuid.data[n] & 15];
    }
    append_plain({text, sizeof(text)}, to);
}

// A slice: of a value that does not fit a key, the beginning is enough.
std::string_view text_of(Datum value) {
    auto *text = reinterpret_cast<struct varlena *>(DatumGetPointer(value));
    if (VARATT_IS_COMPRESSED(text) || VARATT_IS_EXTERNAL(text))
        text = detoast_attr_slice(text, 0, kMaxTouchLength + 1);
    return {VARDATA_ANY(text), static_cast<std::size_t>(VARSIZE_ANY_EXHDR(text))};
}

}  // namespace

ValueRenderer ValueRenderer::prepare(Oid type, MemoryContext memory) {
    ValueRenderer renderer{};
    Oid output;
    bool is_varlena;
    getTypeOutputInfo(type, &output, &is_varlena);
    fmgr_info_cxt(output, &renderer.output, memory);
    renderer.method = Method::other;
    for (const KnownOutput &known : kKnownOutputs)
        if (renderer.output.fn_addr == known.function)
            renderer.method = known.method;
    renderer.is_encoded = !is_plain(getBaseType(type));
    renderer.pins = renderer.method == Method::other ? pins_of(type) : static_cast<unsigned>(kPinNothing);
    return renderer;
}

void ValueRenderer::append(Datum value, bool is_raw, bool is_tag, TouchText &to) const {
    std::string_view text;
    switch (method) {
        case Method::int2:
            append_number(to, [=](char *space) { return pg_ltoa(DatumGetInt16(value), space); });
            return;
        case Method::int4:
            append_number(to, [=](char *space) { return pg_ltoa(DatumGetInt32(value), space); });
            return;
        case Method::int8:
            append_number(to, [=](char *space) { return pg_lltoa(DatumGetInt64(value), space); });
            return;
        case Method::oid:
            append_number(to, [=](char *space) { return pg_ultoa_n(DatumGetObjectId(value), space); });
            return;
        case Method::boolean:
            to.put(DatumGetBool(value) ? 't' : 'f');
            return;
        case Method::uuid:
            append_uuid(*DatumGetUUIDP(value), to);
            return;
        case Method::name:
            text = NameStr(*DatumGetName(value));
            break;
        case Method::text:
            text = text_of(value);
            break;
        case Method::other:
            text = OutputFunctionCall(const_cast<FmgrInfo *>(&output), value);
            break;
    }
    if (is_encoded && !is_raw)
        to.append_encoded(text, is_tag);
    else
        to.append_raw(text, is_tag);
}

bool has_unstable_text(Oid type) {
    bool is_unstable = false;
    for_each_part(type, [&](Oid part) { is_unstable |= part == CASHOID; });
    return is_unstable;
}

}  // namespace cache_sync
