module local/@NAME@

go 1.25
