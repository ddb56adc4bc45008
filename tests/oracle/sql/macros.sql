-- Macros `parse_…` convert text to a type. They return null if the text is no value of the type.
create macro parse_text(value) as
    nullif(regexp_replace(value::varchar, '\A[\s\p{Z}\p{C}]+|[\s\p{Z}\p{C}]+\z', '', 'g'), '');

create macro parse_integer(value) as
    case when regexp_full_match(parse_text(value), '-?[0-9]+') then try_cast(parse_text(value) as bigint) end;

create macro parse_decimal(value) as
    case
        when regexp_full_match(parse_text(value), '-?[0-9]+(\.([0-9]{1,2}|[0-9]{2}0+))?')
            then try_cast(parse_text(value) as decimal(18, 2))
    end;

create macro parse_coordinate(value) as
    case
        when regexp_full_match(parse_text(value), '-?[0-9]+(\.[0-9]+)?')
            then try_cast(parse_text(value) as double)
    end;

-- The cast would also accept the year 0, the hour 24, longer fractions and time zones. The pattern rejects these.
create macro parse_timestamp(value) as
    case
        when regexp_full_match(
            parse_text(value), '[0-9]{4}-[0-9]{2}-[0-9]{2} ([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?'
        )
        and not starts_with(parse_text(value), '0000')
            then try_cast(parse_text(value) as timestamp)
    end;

create macro parse_zip(value) as
    case when length(parse_text(value)) < 5 then lpad(parse_text(value), 5, '0') else parse_text(value) end;

create macro parse_city(value) as
    parse_text(regexp_replace(strip_accents(lower(parse_text(value))), '[\s\p{Z}]+', ' ', 'g'));

-- Compute with money in whole cents. Quotients are rounded once, half away from zero. All computations use integers,
-- because DuckDB's decimal division and round() convert to double.
create macro to_cents(amount) as
    (amount::decimal(38, 2) * 100)::hugeint;

create macro round_quotient(dividend, divisor) as
    sign(dividend)::hugeint * ((2 * abs(dividend::hugeint) + divisor) // (2 * divisor::hugeint));

create macro hundredths(value) as
    (value::decimal(30, 0) * 0.01)::decimal(18, 2);

create macro ten_thousandths(value) as
    (value::decimal(30, 0) * 0.0001)::decimal(18, 4);

-- The average of numbers with up to two decimal places; `total` is their sum and `n` their count.
create macro average(total, n) as
    hundredths(round_quotient(to_cents(total), n));

create macro share(part, n) as
    case when n > 0 then ten_thousandths(round_quotient(part::hugeint * 10000, n)) end;
