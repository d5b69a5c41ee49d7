#include "capture/condition_pg.h"

#include "boundary.h"
#include "capture/pinned_settings_pg.h"

#include "pg.h"

extern "C" {
#include "access/relation.h"
#include "access/transam.h"  // FirstNormalObjectId
#include "catalog/pg_proc.h"
#include "executor/executor.h"
#include "miscadmin.h"  // SetUserIdAndSecContext
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"  // deparse_expression
}

namespace cache_sync {
namespace {

bool has_subquery(Node *node, void *context) {
    if (node == nullptr)
        return false;
    if (IsA(node, SubLink))
        return true;
    return raw_expression_tree_walker(node, has_subquery, context);
}

bool has_whole_row_or_system_column(Node *node, void *context) {
    if (node == nullptr)
        return false;
    if (IsA(node, Var))
        return reinterpret_cast<Var *>(node)->varattno <= 0;
    return expression_tree_walker(node, has_whole_row_or_system_column, context);
}

// PostgreSQL points into the statement; the condition is a text of its own.
void point_into_condition(void *text) {
    const int position = geterrposition();
    if (position > 0) {
        errposition(0);
        internalerrposition(position);
        internalerrquery(static_cast<const char *>(text));
    }
    errcontext("condition of a cache_sync rule");
}

[[noreturn]] void refuse_form() {
    throw Failure("42601", "the condition is not an expression")
        .hint("Write one boolean expression over the columns of the table, as in a WHERE clause.");
}

// The expression in a text. The parser takes it for the select list of a query, so a query is looked out for.
Node *parse_expression(const char *text) {
    List *const statements = raw_parser(text, RAW_PARSE_PLPGSQL_EXPR);
    auto *const raw = linitial_node(RawStmt, statements);
    if (!IsA(raw->stmt, SelectStmt))
        refuse_form();
    auto *const select = reinterpret_cast<SelectStmt *>(raw->stmt);
    if (select->op != SETOP_NONE || select->distinctClause || select->intoClause || select->fromClause ||
        select->whereClause || select->groupClause || select->havingClause || select->windowClause ||
        select->valuesLists || select->sortClause || select->limitOffset || select->limitCount ||
        select->lockingClause || select->withClause || list_length(select->targetList) != 1)
        refuse_form();
    auto *const target = linitial_node(ResTarget, select->targetList);
    if (target->name != nullptr || target->indirection != NIL)
        refuse_form();
    return target->val;
}

Expr *analyse(Relation relation, const char *text) {
    Node *const raw = parse_expression(text);
    if (has_subquery(raw, nullptr))
        throw Failure("0A000", "a condition cannot use a subquery")
            .hint("It sees one row at a time: use the row's columns, or a function marked STABLE.");
    ParseState *const state = make_parsestate(nullptr);
    state->p_sourcetext = text;
    ParseNamespaceItem *const row =
        addRangeTableEntryForRelation(state, relation, AccessShareLock, nullptr, false, true);
    addNSItemToQuery(state, row, true, true, true);
    Node *expression = transformExpr(state, raw, EXPR_KIND_TRIGGER_WHEN);
    expression = coerce_to_boolean(state, expression, "condition");
    assign_expr_collations(state, expression);
    if (has_whole_row_or_system_column(expression, nullptr))
        throw Failure("0A000", "a condition cannot use whole rows or system columns")
            .hint("Name the columns that it depends on.");
    return reinterpret_cast<Expr *>(expression);
}

// Runs fn with errors pointing into the condition's text.
template <typename Fn>
void reporting_position(const char *text, Fn &&fn) {
    ErrorContextCallback frame{error_context_stack, point_into_condition, const_cast<char *>(text)};
    error_context_stack = &frame;
    try {
        fn();
    } catch (...) {
        error_context_stack = frame.previous;
        throw;
    }
    error_context_stack = frame.previous;
}

struct Dependencies {
    bool uses_functions = false;  // of users
    bool is_not_immutable = false;
};

bool note_function(Oid function, void *context) {
    auto *const found = static_cast<Dependencies *>(context);
    found->uses_functions |= function >= FirstNormalObjectId;
    found->is_not_immutable |= func_volatile(function) != PROVOLATILE_IMMUTABLE;
    return false;
}

bool note_dependencies(Node *node, void *context) {
    if (node == nullptr)
        return false;
    // The checks of a domain can be any functions.
    if (IsA(node, CoerceToDomain))
        static_cast<Dependencies *>(context)->uses_functions = true;
    check_functions_in_node(node, note_function, context);
    return expression_tree_walker(node, note_dependencies, context);
}

// The expression is of the table's owner, its functions must not run with the rights of whoever writes.
struct OwnerRights {
    Oid user;
    int security;

    explicit OwnerRights(Oid owner) {
        GetUserIdAndSecContext(&user, &security);
        SetUserIdAndSecContext(owner, security | SECURITY_RESTRICTED_OPERATION);
    }
    // Called, not destroyed: after an error, the end of the (sub)transaction gives the rights back.
    void give_back() const { SetUserIdAndSecContext(user, security); }
};

void name_the_rule(void *condition) {
    errcontext("condition of cache_sync rule %lld",
               static_cast<long long>(static_cast<Condition *>(condition)->rule));
}

}  // namespace

char *canonical_condition(Relation relation, const char *text) {
    char *canonical = nullptr;
    reporting_position(text, [&] {
        Expr *const expression = analyse(relation, text);
        if (contain_volatile_functions_after_planning(expression))
            throw Failure("22023", "a condition cannot use volatile functions")
                .hint("Use functions that are marked STABLE or IMMUTABLE.");
        with_pinned_settings(kPinFormats | kPinSearchPath, [&] {
            List *const names =
                deparse_context_for(RelationGetRelationName(relation), RelationGetRelid(relation));
            canonical = deparse_expression(reinterpret_cast<Node *>(expression), names, false, false);
        });
    });
    return canonical;
}

Condition *Condition::compile(Relation relation, const char *canonical, std::int64_t rule,
                              MemoryContext memory) {
    auto *const condition = static_cast<Condition *>(MemoryContextAllocZero(memory, sizeof(Condition)));
    condition->rule = rule;
    condition->owner = relation->rd_rel->relowner;
    // Planning runs immutable functions.
    const OwnerRights rights(condition->owner);
    with_pinned_settings(kPinFormats | kPinSearchPath, [&] {
        reporting_position(canonical, [&] {
            Expr *const analysed = analyse(relation, canonical);
            Dependencies found;
            note_dependencies(reinterpret_cast<Node *>(analysed), &found);
            // Planning puts the bodies of SQL functions in their place, with functions of their own.
            Expr *const expression = expression_planner(analysed);
            note_dependencies(reinterpret_cast<Node *>(expression), &found);
            condition->uses_functions = found.uses_functions;
            condition->pins = found.uses_functions || found.is_not_immutable
                                  ? kPinFormats | kPinSearchPath
                                  : static_cast<unsigned>(kPinFormats);
            const MemoryContext caller = MemoryContextSwitchTo(memory);
            condition->state = ExecInitExpr(static_cast<Expr *>(copyObjectImpl(expression)), nullptr);
            condition->context = CreateStandaloneExprContext();
            // A copy, so that no reference count ties it to the running statement.
            condition->row = MakeSingleTupleTableSlot(CreateTupleDescCopyConstr(RelationGetDescr(relation)),
                                                      &TTSOpsHeapTuple);
            condition->context->ecxt_scantuple = condition->row;
            MemoryContextSwitchTo(caller);
        });
    });
    rights.give_back();
    return condition;
}

bool Condition::holds(HeapTuple tuple) {
    ErrorContextCallback frame{error_context_stack, name_the_rule, this};
    error_context_stack = &frame;
    is_running = true;
    const OwnerRights rights(owner);
    ExecStoreHeapTuple(tuple, row, false);
    bool is_null = false;
    const Datum result = ExecEvalExprSwitchContext(state, context, &is_null);
    ExecClearTuple(row);
    ResetExprContext(context);
    rights.give_back();
    is_running = false;
    error_context_stack = frame.previous;
    return !is_null && DatumGetBool(result);
}

}  // namespace cache_sync
