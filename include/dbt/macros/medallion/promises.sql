{#-
  The tests that every table gets: the promises that each row of a changelog and of silver staging keeps, whatever its
  model. While a test is compiled, it queries ten tables at a time, so that no statement is too large. A first query
  counts the rows in scope, and those that break a promise. A second query checks that keys are unique in the tables
  with rows in scope. The test returns a row for each promise that a table breaks.
-#}

{% macro changelog_promises(model) -%}
    {%- set required = ['_changed_at', '_op', '_hash', '_extracted_at', '_batch'] -%}
    {{ return({
        'breaches': null_breaches(required) + [("_op is upsert or delete", "_op not in ('upsert', 'delete')")],
        'unique': [(model.config.unique_key, 'true')],
    }) }}
{%- endmacro %}

{% macro staging_promises(model) -%}
    {%- set required = [
        '_changed_at', '_raw_key', '_rules', '_flags', '_state', '_op', '_hash', '_version_batch', '_first_extracted_at', '_batch'
    ] -%}
    {%- set key, never_null, checks = [], [], [] -%}
    {%- for column, constraint in constraints_of(model) -%}
        {%- if constraint.type in ['primary_key', 'not_null'] -%}
            {%- do never_null.extend([column] if column else constraint.columns) -%}
        {%- endif -%}
        {%- if constraint.type == 'primary_key' -%}
            {%- do key.extend([column] if column else constraint.columns) -%}
        {%- elif constraint.type == 'check' -%}
            {%- set condition = condition_on_trino(constraint.expression, model.columns) -%}
            {%- if condition -%}
                {%- do checks.append((constraint.expression, 'not (' ~ condition ~ ')')) -%}
            {%- endif -%}
        {%- endif -%}
    {%- endfor -%}
    {%- set of_current = [] -%}
    {%- for promise, breach in null_breaches(never_null | unique | list) + checks -%}
        {%- do of_current.append((promise, "_state = 'current' and " ~ breach)) -%}
    {%- endfor -%}
    {{ return({
        'breaches': null_breaches(required) + of_current + [
            ("_op is upsert or delete", "_op not in ('upsert', 'delete')"),
            ("_state is a known state", "_state not in ('current', 'rejected', 'deleted', 'superseded')"),
        ],
        'unique': [(key, "_state = 'current'"), (['_raw_key'], 'true')],
    }) }}
{%- endmacro %}

{% macro null_breaches(columns) -%}
    {%- set breaches = [] -%}
    {%- for name in columns -%}
        {%- do breaches.append((name ~ ' is not null', quote_identifier(name) ~ ' is null')) -%}
    {%- endfor -%}
    {{ return(breaches) }}
{%- endmacro %}

{#- Each constraint as a pair (column, constraint); the column is none for a constraint of the whole model. -#}
{% macro constraints_of(model) -%}
    {%- set constraints = [] -%}
    {%- for constraint in model.constraints -%}{%- do constraints.append((none, constraint)) -%}{%- endfor -%}
    {%- for column in model.columns.values() -%}
        {%- for constraint in column.constraints -%}{%- do constraints.append((column.name, constraint)) -%}{%- endfor -%}
    {%- endfor -%}
    {{ return(constraints) }}
{%- endmacro %}

{#-
  A check is Spark SQL. This returns it if it certainly means the same on Trino: if it only compares values within one
  class of types, without functions or arithmetic. Otherwise it returns none.
-#}
{% macro condition_on_trino(expression, columns) -%}
    {%- set classes, words = [], [] -%}
    {%- set token = "'[^'\\\\]*'|`[^`]+`|[A-Za-z_]\\w*|\\d+(?:\\.\\d+)?|<=|>=|<>|!=|\\S" -%}
    {%- for word in modules.re.findall(token, expression) -%}
        {%- set name = word[1:-1] if word[0] == '`' else word | lower -%}
        {%- if word[0] == "'" -%}
            {%- do classes.append('text') -%}
            {%- do words.append(word) -%}
        {%- elif word[0] in '0123456789' -%}
            {%- do classes.append('number') -%}
            {%- do words.append(word) -%}
        {%- elif name in columns -%}
            {%- set data_type = columns[name].data_type | lower -%}
            {%- set is_number = data_type.split('(')[0] in ['integer', 'int', 'smallint', 'bigint', 'decimal', 'numeric', 'real', 'double'] -%}
            {%- do classes.append('number' if is_number else 'text' if data_type in ['text', 'varchar', 'string'] else data_type) -%}
            {%- do words.append(quote_identifier(name)) -%}
        {%- elif name in ['and', 'or', 'not', 'in', 'between', 'is', 'null', 'like', '<=', '>=', '<>', '!=', '<', '>', '=', '(', ')', ',', '-'] -%}
            {%- do words.append(word) -%}
        {%- else -%}
            {{ return(none) }}
        {%- endif -%}
    {%- endfor -%}
    {{ return(words | join(' ') if classes | unique | list | length == 1) }}
{%- endmacro %}

{#- The models of a materialization whose tables are tested: those that MEDALLION_TESTED names, or all if it is empty. -#}
{% macro tested_models(materialization, entity_prefix='') -%}
    {%- set built = env_var('MEDALLION_TESTED', '').split() -%}
    {%- set models = [] -%}
    {%- for node in graph.nodes.values() | selectattr('resource_type', 'equalto', 'model') | sort(attribute='name') -%}
        {%- if node.config.materialized == materialization and (not built or entity_prefix ~ node.name in built) -%}
            {%- do models.append(node) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(models) }}
{%- endmacro %}

{#- The query of a test: a row for each promise that one of the models breaks. -#}
{% macro all_broken_promises(models, promises_of) -%}
    {%- set broken = [] -%}
    {%- for models in models | batch(10) -%}
        {%- set tested, counts, uniqueness = [], [], [] -%}
        {%- for model in models -%}
            {%- do tested.append({
                'name': model.name,
                'table': api.Relation.create(database=model.database, schema=model.schema, identifier=model.alias),
                'promises': promises_of(model),
            }) -%}
            {%- do counts.append(count_breaches(loop.index0, tested[-1])) -%}
        {%- endfor -%}
        {%- for row in run_query(counts | join('\nunion all\n')) if row.row_count -%}
            {%- set table = tested[row.model_number | int] -%}
            {%- set breaches = fromjson(row.breaches) -%}
            {%- for promise, _ in table.promises.breaches -%}
                {%- do broken.append((table.name, promise, breaches[loop.index0])) -%}
            {%- endfor -%}
            {%- for keys, condition in table.promises.unique -%}
                {%- set promise = keys | join(', ') ~ (' is unique' if condition == 'true' else ' is unique where ' ~ condition) -%}
                {%- do uniqueness.append((table.name, promise, select_duplicates(uniqueness | length, table, keys, condition, row))) -%}
            {%- endfor -%}
        {%- endfor -%}
        {%- if uniqueness -%}
            {%- set duplicates -%}
                select promise_number, count(*) as broken_rows
                from (
                    {{ uniqueness | map(attribute=2) | join('\nunion all\n') }}
                ) as duplicates
                group by promise_number
            {%- endset -%}
            {%- for row in run_query(duplicates) -%}
                {%- set name, promise, _ = uniqueness[row.promise_number | int] -%}
                {%- do broken.append((name, promise, row.broken_rows)) -%}
            {%- endfor -%}
        {%- endif -%}
    {%- endfor -%}
    {%- set rows = [] -%}
    {%- for name, promise, broken_rows in broken if broken_rows -%}
        {%- do rows.append([text_literal(name), text_literal(promise), broken_rows] | join(', ')) -%}
    {%- endfor -%}
    select * from (values ({{ rows | join('), (') if rows else "'', '', 0" }})) as broken (table_name, promise, broken_rows)
    where {{ 'true' if rows else 'false' }}
{%- endmacro %}

{#- The numbers of rows in scope that break each promise, as JSON, because the tables have different numbers of promises. -#}
{% macro count_breaches(model_number, tested) -%}
    select
        {{ model_number }} as model_number,
        count(*) as row_count,
        json_format(cast(array[
            {% for promise, breach in tested.promises.breaches -%}
            count_if({{ breach }}){{ ',\n            ' if not loop.last }}
            {%- endfor %}
        ] as json)) as breaches,
        cast(cast(min(_changed_at) at time zone 'UTC' as timestamp(6)) as varchar) as first_change,
        cast(cast(max(_changed_at) at time zone 'UTC' as timestamp(6)) as varchar) as last_change
    from {{ tested.table }}
    where {{ tested_rows() }}
{%- endmacro %}

{#-
  The keys in scope that the table has more than once. `scope` has the range of moments of the rows in scope. If the
  moment is part of the key, only partitions of that range are read.
-#}
{% macro select_duplicates(promise_number, tested, keys, condition, scope) -%}
    {%- set key = quoted(keys) | join(', ') -%}
    {%- set rows -%}
        select {{ key }} from {{ tested.table }} where {{ condition }}
        {%- if '_changed_at' in keys and scope.first_change %}
        and _changed_at between {{ utc_literal(scope.first_change) }} and {{ utc_literal(scope.last_change) }}
        {%- endif -%}
    {%- endset -%}
    select {{ promise_number }} as promise_number
    from (
        {{ rows }} and ({{ key }}) in ({{ rows }} and {{ tested_rows() }})
    ) as keyed
    group by {{ key }}
    having count(*) > 1
{%- endmacro %}
