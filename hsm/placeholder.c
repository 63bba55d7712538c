typedef int hsm_placeholder;
