/* The part of the API that only reads static data. */
#include "program.h"

#define LARGEST (edgec_program_.versions[edgec_program_.num_versions - 1])

int edgec_abi_version(void) { return EDGEC_ABI; }

const char *edgec_manifest(void) { return edgec_manifest_section + EDGEC_MANIFEST_HEADER_BYTES; }

uint32_t edgec_num_inputs(void) { return edgec_program_.num_inputs; }

uint32_t edgec_num_outputs(void) { return edgec_program_.num_outputs; }

const edgec_tensor *edgec_input(uint32_t index) {
  return index < edgec_program_.num_inputs ? &LARGEST.inputs[index] : NULL;
}

const edgec_tensor *edgec_output(uint32_t index) {
  return index < edgec_program_.num_outputs ? &LARGEST.outputs[index] : NULL;
}
