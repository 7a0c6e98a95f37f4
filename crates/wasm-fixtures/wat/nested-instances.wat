;; A component of 2^30 instances in a kilobyte: each of thirty components is made of
;; two instances of the one before it. Flattened one by one, as engines do, they would
;; take all memory there is before the first is made.
(component
  (component $c0
    (core module $module)
    (core instance (instantiate $module)))
  (component $c1
    (alias outer 1 $c0 (component $before))
    (instance (instantiate $before))
    (instance (instantiate $before)))
  (component $c2
    (alias outer 1 $c1 (component $before))
    (instance (instantiate $before))
    (instance (instantiate $before)))
  (component $c3
    (alias outer 1 $c2 (component $before))
    (instance (instantiate $before))
    (instance (instantiate $before)))
  (component $c4
    (alias outer 1 $c3 (component $before))
    (instance (instantiate $before))
    (instance (instantiate $before)))
  (component $c5
    (alias outer 1 $c4 (component $before))
    (instance (instantiate $before))
    (instance (instantiate $before)))
  (component $c6
    (alias outer 1 $c5 (component $before))
    (instance (instantiate $before))
    (instance (instantiate $before)))
  (component $c7
    (alias outer 1 $c6 (component $before))
    (instance (instantiate $before))
    (instance (instantiate $before)))
  (component $c8
    (alias outer 1 $c7 (component $before))
    (instance (instantiate $before))
    (instance (instantiate $before)))
  (component $c9
    (alias outer 1 $c8 (component $before))
    (instance (instantiate $before))
    (instance (instantiate $before)))
  (component $c10
    (alias outer 1 $c9 (component $before))
    (instance (instantiate $before))
    (instance (instantiate $before)))
  (component $c11
    (alias outer 1 $c10 (component $before))
    (instance (instantiate $before))
    (instance (instantiate $before)))
  (component $c12
    (alias outer 1 $c11 (component $before))
    (instance (instantiate $before))
    (instance (instantiate $before)))
  (component $c13
    (alias outer 1 $c12 (component $before))
    (instance (instantiate $before))
    (instance (instantiate $before)))
  (component $c14
    (alias outer 1 $c13 (component $before))
    (instance (instantiate $before))
    (instance (instantiate $before)))
  (component $c15
    (alias outer 1 $c14 (component $before))
    (instance (instantiate $before))
    (instance (instantiate $before)))
  (component $c16
    (alias outer 1 $c15 (component $before))
    (instance (instantiate $before))
    (instance (instantiate $before)))
  (component $c17
    (alias outer 1 $c16 (component $before))
    (instance (instantiate $before))
    (instance (instantiate $before)))
  (component $c18
    (alias outer 1 $c17 (component $before))
    (instance (instantiate $before))
    (instance (instantiate $before)))
  (component $c19
    (alias outer 1 $c18 (component $before))
    (instance (instantiate $before))
    (instance (instantiate $before)))
  (component $c20
    (alias outer 1 $c19 (component $before))
    (instance (instantiate $before))
    (instance (instantiate $before)))
  (component $c21
    (alias outer 1 $c20 (component $before))
    (instance (instantiate $before))
    (instance (instantiate $before)))
  (component $c22
    (alias outer 1 $c21 (component $before))
    (instance (instantiate $before))
    (instance (instantiate $before)))
  (component $c23
    (alias outer 1 $c22 (component $before))
    (instance (instantiate $before))
    (instance (instantiate $before)))
  (component $c24
    (alias outer 1 $c23 (component $before))
    (instance (instantiate $before))
    (instance (instantiate $before)))
  (component $c25
    (alias outer 1 $c24 (component $before))
    (instance (instantiate $before))
    (instance (instantiate $before)))
  (component $c26
    (alias outer 1 $c25 (component $before))
    (instance (instantiate $before))
    (instance (instantiate $before)))
  (component $c27
    (alias outer 1 $c26 (component $before))
    (instance (instantiate $before))
    (instance (instantiate $before)))
  (component $c28
    (alias outer 1 $c27 (component $before))
    (instance (instantiate $before))
    (instance (instantiate $before)))
  (component $c29
    (alias outer 1 $c28 (component $before))
    (instance (instantiate $before))
    (instance (instantiate $before)))
  (component $c30
    (alias outer 1 $c29 (component $before))
    (instance (instantiate $before))
    (instance (instantiate $before)))
  (instance (instantiate $c30)))
