-- Create the generator's functions and temporary tables, and generate the rows to which orders refer.
-- Parameters:
-- seed: a number; the same seed gives the same rows.
-- orders: the number of orders.
-- until: the time (UTC) of the newest events.
-- days: the number of days before `until` in which the purchases are.
-- growth: an exponent; sales grow over time if it is less than 1, and are steady if it is 1.
-- Every value is a function of the seed and the row's number, so that any range of orders can be generated separately.

create or replace function pg_temp.random(number bigint, stream integer) returns double precision immutable as $$
    -- A random number in [0, 1) for the row `number`. Each use of this function passes a different `stream`, so that the
    -- values of a row are independent.
    select (hashint8extended(number, %(seed)s::bigint * 1000 + stream) & 1073741823) / 1073741824.0::double precision
$$ language sql;

create or replace function pg_temp.lognormal(median double precision, spread double precision, number bigint, stream integer)
returns double precision immutable as $$
    select median * exp(spread * sqrt(-2 * ln(1 - pg_temp.random(number, stream))) * cos(2 * pi() * pg_temp.random(number, stream + 1)))
$$ language sql;

create or replace function pg_temp.id(kind text, number bigint) returns text immutable as $$
    select md5(kind || %(seed)s::text || '-' || number::text)
$$ language sql;

create or replace function pg_temp.money(cents bigint) returns text immutable as $$
    select (cents * 0.01)::text
$$ language sql;

create or replace function pg_temp.wished(number bigint) returns timestamp immutable as $$
    -- The time of a purchase. Orders with higher numbers are later, and more orders come by day than by night.
    select
        date_trunc('day', %(until)s::timestamp - %(days)s * (1 - (number / %(orders)s::double precision) ^ %(growth)s) * interval '1 day')
        + interval '1 second' * floor(3600 * (pg_temp.random(number, 2) + width_bucket(
            pg_temp.random(number, 1),
            array[
                0.02, 0.03, 0.04, 0.043, 0.046, 0.05, 0.055, 0.067, 0.097, 0.145, 0.207, 0.273,
                0.333, 0.398, 0.466, 0.531, 0.599, 0.660, 0.718, 0.777, 0.840, 0.902, 0.960
            ]::double precision []
        )))
$$ language sql;

create or replace function pg_temp.purchase(number bigint) returns timestamp immutable as $$
    -- If the time would be after `until`, take the same time a day earlier.
    select pg_temp.wished(number) - interval '1 day' * (pg_temp.wished(number) > %(until)s::timestamp)::integer
$$ language sql;

create or replace function pg_temp.products() returns bigint immutable as
'select greatest(500, %(orders)s / 3)::bigint' language sql;

create or replace function pg_temp.sellers() returns bigint immutable as
'select greatest(200, %(orders)s / 32)::bigint' language sql;

create or replace function pg_temp.places() returns bigint immutable as
'select greatest(1000, least(19000, %(orders)s / 5))::bigint' language sql;

create or replace function pg_temp.price(product bigint) returns bigint immutable as
'select 290 + round(pg_temp.lognormal(7000, 0.95, product, 10))::bigint' language sql;

create or replace function pg_temp.seller(product bigint) returns bigint immutable as
'select floor(pg_temp.sellers() * pg_temp.random(product, 12) ^ 2)::bigint' language sql;

create temp table reference on commit drop as
-- The `updated_at` of the rows to which orders refer. It must lie before every purchase. Purchases with the lowest numbers
-- are on the earliest days, so a day before the earliest of them is enough.
select (min(pg_temp.purchase(number)) - interval '1 day') at time zone 'UTC' as at
from generate_series(1, least(%(orders)s, 10 + %(orders)s / 1000)) as number;

create temp table zip on commit drop as
-- Zip code prefixes, which are all equally likely for a customer. A state has as many of them as its share of the
-- customers. The list of states is in the order of zip codes. For each it has the number of customers in the Olist data
-- set (weight), the coordinates of its capital, the days that a parcel takes, and cities.
with states (position, state, weight, lat, lng, days, cities) as (
    values
    (1, 'SP', 41746, -23.55, -46.63, 6, array['são paulo', 'campinas', 'guarulhos', 'santos', 'são josé dos campos']),
    (2, 'RJ', 12852, -22.91, -43.20, 11, array['rio de janeiro', 'niterói', 'nova iguaçu']),
    (3, 'ES', 2033, -20.32, -40.34, 12, array['vitória', 'vila velha', 'serra']),
    (4, 'MG', 11635, -19.92, -43.94, 9, array['belo horizonte', 'uberlândia', 'juiz de fora', 'contagem']),
    (5, 'BA', 3380, -12.97, -38.50, 15, array['salvador', 'feira de santana', 'vitória da conquista']),
    (6, 'SE', 350, -10.91, -37.07, 17, array['aracaju', 'lagarto']),
    (7, 'PE', 1652, -8.05, -34.90, 14, array['recife', 'olinda', 'caruaru']),
    (8, 'AL', 413, -9.67, -35.74, 20, array['maceió', 'arapiraca']),
    (9, 'PB', 536, -7.12, -34.86, 16, array['joão pessoa', 'campina grande']),
    (10, 'RN', 485, -5.79, -35.21, 15, array['natal', 'mossoró']),
    (11, 'CE', 1336, -3.72, -38.54, 17, array['fortaleza', 'caucaia', 'sobral']),
    (12, 'PI', 495, -5.09, -42.80, 15, array['teresina', 'parnaíba']),
    (13, 'MA', 747, -2.53, -44.30, 17, array['são luís', 'imperatriz']),
    (14, 'PA', 975, -1.46, -48.50, 19, array['belém', 'ananindeua', 'santarém']),
    (15, 'AP', 68, 0.03, -51.07, 22, array['macapá']),
    (16, 'AM', 148, -3.12, -60.02, 22, array['manaus']),
    (17, 'RR', 46, 2.82, -60.67, 24, array['boa vista']),
    (18, 'AC', 81, -9.97, -67.81, 18, array['rio branco']),
    (19, 'DF', 2140, -15.79, -47.88, 10, array['brasília', 'taguatinga']),
    (20, 'GO', 2020, -16.69, -49.25, 12, array['goiânia', 'aparecida de goiânia', 'anápolis']),
    (21, 'RO', 253, -8.76, -63.90, 16, array['porto velho', 'ji-paraná']),
    (22, 'TO', 280, -10.18, -48.33, 14, array['palmas', 'araguaína']),
    (23, 'MT', 907, -15.60, -56.10, 14, array['cuiabá', 'várzea grande']),
    (24, 'MS', 715, -20.44, -54.65, 12, array['campo grande', 'dourados']),
    (25, 'PR', 5045, -25.43, -49.27, 9, array['curitiba', 'londrina', 'maringá', 'ponta grossa']),
    (26, 'SC', 3637, -27.60, -48.55, 11, array['florianópolis', 'joinville', 'blumenau']),
    (27, 'RS', 5466, -30.03, -51.23, 12, array['porto alegre', 'caxias do sul', 'pelotas', 'canoas'])
),

shares as (
    select
        *,
        sum(weight) over (order by position) / sum(weight) over ()::double precision as upper_share
    from states
),

final as (
    select
        number,
        lpad((1001 + floor(number * 98000.0 / pg_temp.places()))::text, 5, '0') as prefix,
        cities[1 + floor(cardinality(cities) * pg_temp.random(number, 20) ^ 2)::integer] as city,
        state,
        lat + pg_temp.random(number, 21) - 0.5 as lat,
        lng + pg_temp.random(number, 22) - 0.5 as lng,
        days
    from generate_series(0, pg_temp.places() - 1) as number
    cross join lateral (
        select * from shares where upper_share > number / pg_temp.places()::double precision order by position limit 1
    ) as state
)

select * from final;

create temp table category on commit drop as
-- Product categories. A category's share of the products is proportional to `weight`. As in the Olist data set, two
-- categories have no translation.
with categories (position, name, english, weight) as (
    values
    (1, 'cama_mesa_banho', 'bed_bath_table', 3029),
    (2, 'esporte_lazer', 'sports_leisure', 2867),
    (3, 'moveis_decoracao', 'furniture_decor', 2657),
    (4, 'beleza_saude', 'health_beauty', 2444),
    (5, 'utilidades_domesticas', 'housewares', 2335),
    (6, 'automotivo', 'auto', 1900),
    (7, 'informatica_acessorios', 'computers_accessories', 1639),
    (8, 'brinquedos', 'toys', 1411),
    (9, 'relogios_presentes', 'watches_gifts', 1329),
    (10, 'telefonia', 'telephony', 1134),
    (11, 'bebes', 'baby', 919),
    (12, 'perfumaria', 'perfumery', 868),
    (13, 'fashion_bolsas_e_acessorios', 'fashion_bags_accessories', 849),
    (14, 'papelaria', 'stationery', 849),
    (15, 'cool_stuff', 'cool_stuff', 789),
    (16, 'ferramentas_jardim', 'garden_tools', 753),
    (17, 'pet_shop', 'pet_shop', 719),
    (18, 'eletronicos', 'electronics', 517),
    (19, 'construcao_ferramentas_construcao', 'construction_tools_construction', 400),
    (20, 'eletrodomesticos', 'home_appliances', 370),
    (21, 'malas_acessorios', 'luggage_accessories', 349),
    (22, 'consoles_games', 'consoles_games', 317),
    (23, 'moveis_escritorio', 'office_furniture', 309),
    (24, 'instrumentos_musicais', 'musical_instruments', 289),
    (25, 'eletroportateis', 'small_appliances', 231),
    (26, 'livros_interesse_geral', 'books_general_interest', 216),
    (27, 'alimentos', 'food', 82),
    (28, 'bebidas', 'drinks', 81),
    (29, 'artes', 'art', 55),
    (30, 'pcs', 'computers', 30),
    (31, 'portateis_cozinha_e_preparadores_de_alimentos', null, 10),
    (32, 'pc_gamer', null, 3)
)

select
    *,
    sum(weight) over (order by position) / sum(weight) over ()::double precision as upper_share
from categories;

analyze zip;

insert into sales.geolocation
select
    zip.prefix,
    round(least(5.2, greatest(-33.7, lat + 0.02 * pg_temp.random(zip.number * 10 + entry, 23)))::numeric, 6)::text,
    round(least(-34.8, greatest(-73.9, lng + 0.02 * pg_temp.random(zip.number * 10 + entry, 24)))::numeric, 6)::text,
    -- Some rows have the city with accents, others without.
    case
        when pg_temp.random(zip.number * 10 + entry, 25) < 0.2 then city
        else translate(city, 'áâãçéêíóôõú', 'aaaceeiooou')
    end,
    state,
    reference.at
from zip
cross join lateral generate_series(1, 1 + floor(9 * pg_temp.random(zip.number, 26))::integer) as entry
cross join reference
order by zip.number, entry;

insert into sales.product_category_name_translation
select category.name, category.english, reference.at
from category
cross join reference
where category.english is not null
order by category.position;

insert into sales.products
select
    pg_temp.id('product', number),
    category.name,
    case when category.name is not null then (20 + floor(44 * sqrt(pg_temp.random(number, 31))))::text end,
    case when category.name is not null then round(20 + pg_temp.lognormal(560, 0.7, number, 32))::text end,
    case when category.name is not null then (1 + floor(6 * pg_temp.random(number, 34) ^ 3))::text end,
    round(50 + pg_temp.lognormal(650, 1.1, number, 35))::text,
    round(16 + pg_temp.lognormal(8, 0.8, number, 37))::text,
    round(2 + pg_temp.lognormal(11, 0.7, number, 39))::text,
    round(6 + pg_temp.lognormal(14, 0.6, number, 41))::text,
    reference.at
from generate_series(0, pg_temp.products() - 1) as number
cross join reference
left join lateral (
    select name
    from category
    where upper_share > pg_temp.random(number, 30) / 0.98  -- two percent have no category
    order by position
    limit 1
) as category on true;

insert into sales.sellers
select
    pg_temp.id('seller', seller),
    zip.prefix,
    translate(zip.city, 'áâãçéêíóôõú', 'aaaceeiooou'),
    zip.state,
    reference.at
from generate_series(0, pg_temp.sellers() - 1) as seller
cross join reference
-- The exponent makes low numbers more likely: the state São Paulo, which is first, has a larger share of the sellers than
-- of the customers.
inner join zip on zip.number = floor(pg_temp.places() * pg_temp.random(seller, 50) ^ 1.6)::bigint
order by seller;
