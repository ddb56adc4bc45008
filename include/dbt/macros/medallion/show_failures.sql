{% macro show_failures(results) -%}
    {%- for result in results if result.node.resource_type == 'test' and result.status in ['fail', 'warn'] -%}
        {%- set failing_rows = result.node.compiled_code | trim -%}
        {%- set outcome = result.node.name ~ ': ' ~ result.status -%}
        {{ log(outcome ~ '. This query shows all failing rows:\n' ~ failing_rows ~ '\nThe first of them:', info=true) }}
        {%- set first_rows = run_query('select * from (' ~ failing_rows ~ ') as failing_rows limit 5') -%}
        {%- do first_rows.print_table(max_columns=50, max_column_width=40) -%}
    {%- endfor -%}
{%- endmacro %}
