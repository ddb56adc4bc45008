{#- The orders of which the order itself, an item or a payment changed since the last publication. -#}
{% macro changed_orders() -%}
    select order_id from {{ ref('stg_orders') }} where {{ is_changed() }}
    union
    select order_id from {{ ref('stg_order_items') }} where {{ is_changed() }}
    union
    select order_id from {{ ref('stg_order_payments') }} where {{ is_changed() }}
{%- endmacro %}

{#- Keys of this table's own rows that runs wrote since the last publication: what a run that never published left. -#}
{% macro unpublished_keys(keys) -%}
    select {{ keys | join(', ') }} from {{ this }} where {{ is_changed() }}
{%- endmacro %}
