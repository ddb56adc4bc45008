-- Generate the orders with the numbers from `first` to `last`, with their customers, items, payments and reviews.
-- Parameters: first, last, and those of reference.sql, which must run before: seed, orders, until, days, growth.
-- Events after `until` are not written, so the newest orders are still open.
-- Most steps are materialized; otherwise PostgreSQL would compute their columns again at every use.

with drawn as materialized (
    select
        number,
        -- About three of a hundred orders are from a customer who has bought before.
        case
            when pg_temp.random(number, 60) < 0.034 then 1 + floor((number - 1) * pg_temp.random(number, 61))::bigint
            else number
        end as buyer,
        pg_temp.purchase(number) as purchased,
        width_bucket(
            pg_temp.random(number, 62), array[0.006, 0.012, 0.015, 0.018, 0.027]::double precision []
        ) as fate,
        pg_temp.random(number, 63) < 0.78 as by_card
    from generate_series(%(first)s::bigint, %(last)s::bigint) as number
),

addressed as materialized (
    select
        drawn.*,
        zip.prefix,
        translate(zip.city, 'áâãçéêíóôõú', 'aaaceeiooou') as city,
        zip.state,
        zip.days,
        purchased + case
            when by_card then interval '5 minutes' + pg_temp.random(drawn.number, 64) * interval '40 minutes'
            else interval '10 hours' + pg_temp.random(drawn.number, 64) * interval '50 hours'
        end as approved
    from drawn
    inner join zip on zip.number = floor(pg_temp.places() * pg_temp.random(drawn.buyer, 65))::bigint
),

handed_over as materialized (
    select
        *,
        approved + pg_temp.lognormal(1.9, 0.7, number, 66) * interval '1 day' as carried,
        date_trunc('day', purchased) + interval '1 day' * round(days * 1.1 + 9 + 8 * pg_temp.random(number, 68)) as estimated
    from addressed
),

timed as materialized (
    select
        *,
        carried + pg_temp.lognormal(days, 0.55, number, 69) * interval '1 day' as delivered
    from handed_over
),

known as materialized (
    select
        *,
        case
            when fate = 0 then 'canceled'
            when fate = 1 then 'unavailable'
            when approved > %(until)s then 'created'
            when fate = 2 then 'invoiced'
            when fate = 3 then 'processing'
            when carried > %(until)s
                then (array['approved', 'invoiced', 'processing'])[1 + floor(3 * pg_temp.random(number, 73))::integer]
            when fate = 4 or delivered > %(until)s then 'shipped'
            else 'delivered'
        end as status
    from timed
),

placed as materialized (
    select
        number,
        pg_temp.id('order', number) as order_id,
        pg_temp.id('customer', number) as customer_id,
        pg_temp.id('buyer', buyer) as customer_unique_id,
        prefix,
        city,
        state,
        status,
        by_card,
        purchased,
        case when status <> 'created' and approved <= %(until)s then date_trunc('second', approved) end as approved,
        case when status in ('shipped', 'delivered') then date_trunc('second', carried) end as carried,
        case when status = 'delivered' then date_trunc('second', delivered) end as delivered,
        estimated,
        case
            when status = 'unavailable' or status = 'canceled' and pg_temp.random(number, 71) < 0.25 then 0
            else 1 + width_bucket(
                pg_temp.random(number, 72),
                array[0.9006, 0.9765, 0.9899, 0.995, 0.9971, 0.9991, 0.9994, 0.9996, 0.9998]::double precision []
            )
        end as items
    from known
),

numbered_items as (
    select
        number,
        order_id,
        purchased,
        item,
        floor(pg_temp.products() * pg_temp.random(number * 16 + same_as, 80) ^ 2)::bigint as product
    from placed
    cross join lateral generate_series(1, items) as item
    -- Most items of an order are of the same product as its first item.
    cross join lateral (
        select case when pg_temp.random(number * 16 + item, 81) < 0.91 then 1 else item end as same_as
    ) as chosen
),

items as materialized (
    select
        *,
        pg_temp.price(product) as price,
        700 + round(pg_temp.lognormal(900, 0.6, number * 16 + item, 82))::bigint as freight
    from numbered_items
),

totals as (
    select number, sum(price + freight)::bigint as total
    from items
    group by number
),

paid as (
    select
        placed.number,
        order_id,
        purchased,
        by_card,
        coalesce(totals.total, pg_temp.price(placed.number)) as total,
        1 + width_bucket(
            pg_temp.random(placed.number, 90),
            array[0.9694, 0.9913, 0.9945, 0.997, 0.9985, 0.9995]::double precision []
        ) as payments
    from placed
    left join totals using (number)
),

-- The payments of an order have equal amounts; the first one also has the remainder. Payments after the first are
-- vouchers.
payments as (
    select
        paid.*,
        payment,
        case
            when payment > 1 then 'voucher'
            when by_card then 'credit_card'
            when pg_temp.random(number, 91) < 0.86 then 'boleto'
            when pg_temp.random(number, 92) < 0.5 then 'voucher'
            else 'debit_card'
        end as type,
        case
            when payment = 1 then total - (payments - 1) * (total / payments)
            else total / payments
        end as value
    from paid
    cross join lateral generate_series(1, payments) as payment
),

reviewed as (
    select
        number,
        order_id,
        coalesce(delivered, estimated) > estimated + interval '1 day' as late,
        created,
        date_trunc('second', created + interval '6 hours' + pg_temp.lognormal(1.9, 0.8, number, 101) * interval '1 day')
            as answered
    from placed
    cross join lateral (
        select date_trunc('day', coalesce(delivered, estimated)) + interval '1 day' as created
    ) as asked
    where pg_temp.random(number, 100) < 0.993
),

reviews as (
    select
        *,
        width_bucket(
            pg_temp.random(number, 102),
            case
                when late then array[0.46, 0.55, 0.67, 0.80]::double precision []
                else array[0.08, 0.11, 0.19, 0.39]::double precision []
            end
        ) + 1 as score
    from reviewed
    where answered <= %(until)s
),

insert_customers as (
    insert into sales.customers
    select customer_id, customer_unique_id, prefix, city, state, reference.at
    from placed
    cross join reference
),

insert_orders as (
    insert into sales.orders
    select
        order_id,
        customer_id,
        status,
        purchased::text,
        approved::text,
        carried::text,
        delivered::text,
        estimated::text,
        coalesce(delivered, carried, approved, purchased) at time zone 'UTC'
    from placed
),

insert_items as (
    insert into sales.order_items
    select
        order_id,
        item::text,
        pg_temp.id('product', product),
        pg_temp.id('seller', pg_temp.seller(product)),
        (purchased + interval '6 days')::text,
        pg_temp.money(price),
        pg_temp.money(freight),
        purchased at time zone 'UTC'
    from items
),

insert_payments as (
    insert into sales.order_payments
    select
        order_id,
        payment::text,
        type,
        case when type = 'credit_card' then (1 + floor(10 * pg_temp.random(number, 93) ^ 2.2))::text else '1' end,
        pg_temp.money(value),
        purchased at time zone 'UTC'
    from payments
)

insert into sales.order_reviews
select
    -- Some reviews have the id of the previous order's review, as if a person had reviewed two orders at once.
    pg_temp.id('review', number - (pg_temp.random(number, 103) < 0.008)::integer),
    order_id,
    score::text,
    case when pg_temp.random(number, 104) < 0.12 then (array['Recomendo', 'Super recomendo', 'Bom', 'Não gostei'])[
        case when score > 3 then 1 + floor(3 * pg_temp.random(number, 105))::integer else 4 end
    ] end,
    case when pg_temp.random(number, 106) < 0.41 then (array[
        'Recebi bem antes do prazo estipulado.',
        'Produto muito bom, "exatamente" como na foto; recomendo!',
        E'Chegou certinho.\r\nComprarei de novo.',
        'Ótimo',
        'Não recebi o produto ainda, o que houve?',
        E'Veio com defeito,\nquero trocar.',
        'Demorou muito a chegar'
    ])[case
        when score > 3 then 1 + floor(4 * pg_temp.random(number, 107))::integer
        else 5 + floor(3 * pg_temp.random(number, 107))::integer
    end] end,
    created::text,
    answered::text,
    answered at time zone 'UTC'
from reviews;
