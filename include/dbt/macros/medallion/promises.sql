{#-
  The tests that every table gets: what each row of a changelog and of silver staging keeps, whatever is modelled. A
  test asks one query a table while it is compiled, so that two hundred tables make no giant statement, and returns a
  row for each promise that a table breaks.
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

{#- Pairs of a column, or none for the whole model, and a constraint. -#}
{% macro constraints_of(model) -%}
    {%- set found = [] -%}
    {%- for constraint in model.constraints -%}{%- do found.append((none, constraint)) -%}{%- endfor -%}
    {%- for column in model.columns.values() -%}
        {%- for constraint in column.constraints -%}{%- do found.append((column.name, constraint)) -%}{%- endfor -%}
    {%- endfor -%}
    {{ return(found) }}
{%- endmacro %}

{#-
  Checks are Spark SQL. Here only those are asked that mean the same on Trino: comparisons within one class of types,
  without functions or arithmetic. None for any other.
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

{#- The models of a materialization whose tables are tested: those that the run built, whose entities it names, or all. -#}
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

{% macro broken_promises(model, promises) -%}
    {%- set table = api.Relation.create(database=model.database, schema=model.schema, identifier=model.alias) -%}
    with tested as (
        select * from {{ table }} where {{ tested_rows() }}
    ),

    broken as (
        select promise
        from tested
        cross join unnest(array[
            {% for promise, breach in promises.breaches -%}
                case when {{ breach }} then {{ text_literal(promise) }} end{{ ',\n            ' if not loop.last }}
            {%- endfor %}
        ]) as breaches (promise)
        where promise is not null
        {%- for keys, condition in promises.unique %}
        union all
        select {{ text_literal(keys | join(', ') ~ (' is unique' if condition == 'true' else ' is unique where ' ~ condition)) }}
        from (
            select {{ quoted(keys) | join(', ') }}
            from {{ table }}
            where {{ condition }} and ({{ quoted(keys) | join(', ') }}) in (
                select {{ quoted(keys) | join(', ') }} from tested where {{ condition }}
            )
            group by {{ quoted(keys) | join(', ') }}
            having count(*) > 1
        )
        {%- endfor %}
    )

    select promise, count(*) as broken_rows from broken group by promise order by promise
{%- endmacro %}

{#- The query of a test: a row for each promise that one of the models breaks. -#}
{% macro all_broken_promises(models, promises_of) -%}
    {%- set rows = [] -%}
    {%- for model in models -%}
        {%- for row in run_query(broken_promises(model, promises_of(model))) -%}
            {%- do rows.append([text_literal(model.name), text_literal(row.promise), row.broken_rows] | join(', ')) -%}
        {%- endfor -%}
    {%- endfor -%}
    select * from (values ({{ rows | join('), (') if rows else "'', '', 0" }})) as broken (table_name, promise, broken_rows)
    where {{ 'true' if rows else 'false' }}
{%- endmacro %}
