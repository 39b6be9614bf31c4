[
  inputs: ["{mix,.formatter}.exs", "{mix,lib,test,bench}/**/*.{ex,exs}"],
  line_length: 120,
  # The rows of lib/vdr/reads/.
  locals_without_parens: [read: 1]
]
