/// How fast a model runs: time to the first token, tokens a second, steps one by one, and what
/// memory that takes; two models in turns.
package io.llmc.evaluation.latency;
