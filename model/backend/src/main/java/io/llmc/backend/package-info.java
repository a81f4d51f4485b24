/// The seam between methods and devices: operations as records, memory as arenas. Knows no models.
package io.llmc.backend;
