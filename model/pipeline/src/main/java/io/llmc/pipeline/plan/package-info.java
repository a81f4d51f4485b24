/// What a model and a job will take: memory, time and speed, known before any work.
package io.llmc.pipeline.plan;
